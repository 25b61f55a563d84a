// What works pixel by pixel and is put off until rows are read: a list of steps, at one place of which floats
// may take the place of bytes.

#ifndef REGKERN_CORE_AUGMENT_PIXEL_STEPS_H_
#define REGKERN_CORE_AUGMENT_PIXEL_STEPS_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/augment/maps.h"
#include "core/augment/pictures.h"
#include "core/augment/program.h"
#include "kernels/augment/geometry.h"
#include "kernels/augment/pixels.h"
#include "regkern/random.h"

namespace regkern::augment {

// One pixel step, ready to be applied to rows.
struct PixelStep {
  Op op;  // kTable for all that became a table
  const Prepared* prepared;
  const double* parameters;
  std::uint8_t* tables;  // kTable, kEqualize
  std::ptrdiff_t table_channels;
  double mean;              // kContrast
  const float *low, *high;  // kAutocontrast
  Stream stream;
};

// Whether a step asks about the whole image as it is then.
inline bool measures(Op op) { return op == Op::kContrast || op == Op::kEqualize || op == Op::kAutocontrast; }

class PixelSteps {
 public:
  explicit PixelSteps(const Program& p)
      : channels_(p.x.channels),
        tables_(static_cast<std::ptrdiff_t>(p.prepared.size() + 1) * channels_ * kLevels),
        extremes_(static_cast<std::ptrdiff_t>(p.prepared.size() + 1) * 2 * channels_),
        counts_(channels_ * kLevels) {
    steps_.reserve(p.prepared.size());
  }

  void reset() {
    steps_.clear();
    normalize_ = nullptr;
    normalize_at_ = 0;
  }

  bool empty() const { return steps_.empty() && normalize_ == nullptr; }
  std::size_t count() const { return steps_.size(); }
  // The first normalization, which makes floats of what it gets, in front of step number normalize_at().
  const Prepared* normalize() const { return normalize_; }
  std::size_t normalize_at() const { return normalize_at_; }
  // No step passes over all pixels.
  bool touch_little() const {
    return std::all_of(steps_.begin(), steps_.end(), [](const PixelStep& s) { return s.op == Op::kErase; });
  }
  // One table for all channels is all there is: that table, else nothing.
  const std::uint8_t* only_table() const {
    const bool one = steps_.size() == 1 && steps_[0].op == Op::kTable && steps_[0].table_channels == 1;
    return one ? steps_[0].tables : nullptr;
  }
  // Whether the image that statistics are about can be had by looking through tables of bytes, if by any.
  template <class T>
  bool seen_through() const {
    const bool a_table = sizeof(T) == 1 && steps_.size() == 1 && last_is_table();
    return normalize_ == nullptr && (steps_.empty() || a_table);
  }

  void add_normalize(const Prepared& p, const double* parameters) {
    if (normalize_ == nullptr) {
      normalize_ = &p;
      normalize_at_ = steps_.size();
      return;
    }
    steps_.push_back({p.step->op, &p, parameters, nullptr, 0, 0, nullptr, nullptr, {}});
  }

  // A step on pixels of T. image(): what the pending steps work on, for a step that measures; it is then
  // seen_through.
  template <class T, class Image>
  void add(const Prepared& p, const double* parameters, std::ptrdiff_t sample, Image&& image) {
    const Step& step = *p.step;
    PixelStep s{step.op, &p, parameters, nullptr, 0, 0, nullptr, nullptr, {step.seed, 0}};
    if (step.index != nullptr) s.stream.stream = step.index[sample];
    if (channels_ == 1 && (step.op == Op::kSaturation || step.op == Op::kHue || step.op == Op::kGrayscale)) {
      return;
    }
    std::uint8_t* const table =
        tables_.data() + static_cast<std::ptrdiff_t>(steps_.size()) * channels_ * kLevels;
    s.tables = table;
    s.table_channels = 1;
    switch (step.op) {
      case Op::kTable:
        s.table_channels = step.table_channels;
        std::memcpy(table, step.tables + sample * step.table_channels * kLevels,
                    static_cast<std::size_t>(step.table_channels * kLevels));
        break;
      case Op::kBrightness:
      case Op::kPosterize:
      case Op::kSolarize:
      case Op::kInvert:
        if constexpr (sizeof(T) == 1) {
          make_table(step.op, parameters, table);
          s.op = Op::kTable;
        }
        break;
      case Op::kContrast:
        set_contrast<T>(s, image());
        break;
      case Op::kEqualize:
        set_equalize<T>(s, image());
        break;
      case Op::kAutocontrast:
        set_autocontrast<T>(s, image());
        break;
      default:
        break;
    }
    if constexpr (sizeof(T) == 1) {
      if (s.op == Op::kTable && last_is_table()) return add_to_table(s);
    }
    steps_.push_back(s);
  }

  // Steps first … last on rows y … of the image.
  template <class T>
  void apply(std::size_t first, std::size_t last, const Picture<T>& rows, std::ptrdiff_t y) const {
    const PixelTable<T>& k = pixel_table<T>();
    const bool dense = rows.row_stride == rows.width * rows.pixel_stride;
    for (std::size_t i = first; i < last; ++i) {
      const PixelStep& s = steps_[i];
      const Step& step = *s.prepared->step;
      if (s.op == Op::kErase) {
        k.erase(rows, y, s.parameters, step.fill_mode, s.prepared->fill_f64.data(), s.stream);
        continue;
      }
      Picture<T> all = rows;
      if (dense) {
        all.width *= all.height;
        all.height = 1;
      }
      if (s.op == Op::kNormalize) {
        if constexpr (sizeof(T) == 4) {
          geometry_table<float>().normalize(as_const(all), s.prepared->scale.data(), s.prepared->bias.data(),
                                            all, {});
        }
        continue;
      }
      for (std::ptrdiff_t r = 0; r < all.height; ++r) {
        const Row<T> row = all.row(r);
        if (s.op == Op::kTable) {
          k.look_up(row, s.tables, s.table_channels);
        } else if (s.op == Op::kNoise) {
          const auto element = static_cast<std::uint64_t>((y + r) * rows.width * channels_);
          k.noise(row, s.stream, element, s.parameters[0], s.parameters[1], step.clip);
        } else if (s.op == Op::kContrast) {
          k.contrast(row, s.parameters[0], s.mean);
        } else if (s.op == Op::kAutocontrast) {
          k.autocontrast(row, reinterpret_cast<const T*>(s.low), reinterpret_cast<const T*>(s.high));
        } else {
          k.point(s.op, row, s.parameters);
        }
      }
    }
  }

  // Rows [begin, end) of an image of a height that boxes touch, of steps that all erase.
  struct Span {
    std::ptrdiff_t begin, end;
  };
  Span erased(std::ptrdiff_t rows) const {
    const auto height = static_cast<double>(rows);
    double top = height, bottom = 0;
    for (const PixelStep& s : steps_) {
      top = std::min(top, s.parameters[0]);
      bottom = std::max(bottom, s.parameters[0] + s.parameters[2]);
    }
    const auto end = static_cast<std::ptrdiff_t>(std::clamp(bottom, 0.0, height));
    return {std::min(static_cast<std::ptrdiff_t>(std::clamp(top, 0.0, height)), end), end};
  }

 private:
  bool last_is_table() const {
    return steps_.size() > (normalize_ != nullptr ? normalize_at_ : 0) && steps_.back().op == Op::kTable;
  }

  // A table behind a table is one table.
  void add_to_table(const PixelStep& next) {
    PixelStep& s = steps_.back();
    if (s.table_channels == 1 && next.table_channels > 1) {
      for (std::ptrdiff_t c = 1; c < channels_; ++c) std::memcpy(s.tables + c * kLevels, s.tables, kLevels);
      s.table_channels = channels_;
    }
    compose_tables(s.tables, s.table_channels, next.tables, next.table_channels);
  }

  // The tables that statistics look through, nullptr where there are none, and how many.
  const std::uint8_t* pending() const { return steps_.empty() ? nullptr : steps_.back().tables; }
  std::ptrdiff_t pending_channels() const { return steps_.empty() ? 1 : steps_.back().table_channels; }

  template <class T>
  void set_contrast(PixelStep& s, const Picture<const T>& x) {
    s.mean = pixel_table<T>().mean_luma(x, pending(), pending_channels());
    if constexpr (sizeof(T) == 1) {
      contrast_table(s.parameters[0], s.mean, s.tables);
      s.op = Op::kTable;
    }
  }

  template <class T>
  void set_equalize(PixelStep& s, const Picture<const T>& x) {
    s.table_channels = channels_;
    pixel_table<T>().histogram(x, counts_.data());
    std::array<std::uint32_t, kLevels> mapped;
    for (std::ptrdiff_t c = 0; c < channels_; ++c) {
      const std::uint32_t* counts = counts_.data() + c * kLevels;
      if (pending() != nullptr) {
        count_through(counts, pending() + (pending_channels() == 1 ? 0 : c * kLevels), mapped.data());
        counts = mapped.data();
      }
      equalize_table(counts, s.tables + c * kLevels);
    }
    s.op = Op::kTable;
  }

  template <class T>
  void set_autocontrast(PixelStep& s, const Picture<const T>& x) {
    s.table_channels = channels_;
    float* const numbers = extremes_.data() + static_cast<std::ptrdiff_t>(steps_.size()) * 2 * channels_;
    T* const low = reinterpret_cast<T*>(numbers);
    T* const high = reinterpret_cast<T*>(numbers + channels_);
    pixel_table<T>().min_max(x, pending(), pending_channels(), low, high);
    if constexpr (sizeof(T) == 1) {
      for (std::ptrdiff_t c = 0; c < channels_; ++c) {
        autocontrast_table(low[c], high[c], s.tables + c * kLevels);
      }
      s.op = Op::kTable;
    } else {
      s.low = low;
      s.high = high;
    }
  }

  std::ptrdiff_t channels_;
  std::vector<PixelStep> steps_;
  const Prepared* normalize_ = nullptr;  // in front of steps_[normalize_at_]
  std::size_t normalize_at_ = 0;
  Buffer<std::uint8_t> tables_;   // of each step, a channel each
  Buffer<float> extremes_;        // kAutocontrast
  Buffer<std::uint32_t> counts_;  // kEqualize
};

}  // namespace regkern::augment

#endif  // REGKERN_CORE_AUGMENT_PIXEL_STEPS_H_
