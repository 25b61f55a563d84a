// The machine. A sample's geometry is kept as maps, a matrix or a resize, and what works pixel by pixel as a
// list; both are carried out when rows are pulled, into the output or, before a step that needs a whole
// image, into one that fits the cache.

#include "regkern/augment.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

#include "core/augment_maps.h"
#include "core/augment_pictures.h"
#include "core/augment_program.h"
#include "core/augment_resize.h"
#include "core/threading.h"
#include "kernels/augment.h"
#include "kernels/augment_geometry.h"
#include "kernels/augment_pixels.h"

namespace regkern::augment {
namespace {

// --- a sample on its way ---

class Worker {
 public:
  Worker(const Program& p, const Images& y)
      : program_(p),
        y_(y),
        channels_(p.x.channels),
        origin_(p.x),
        rows_(p.widest),
        columns_(p.widest),
        images_{Buffer<float>(p.image_floats), Buffer<float>(p.image_floats)},
        tables_(static_cast<std::ptrdiff_t>(p.prepared.size() + 1) * channels_ * kLevels),
        extremes_(static_cast<std::ptrdiff_t>(p.prepared.size() + 1) * 2 * channels_),
        counts_(channels_ * kLevels),
        tile_(kTileBytes / 4 + p.widest * channels_),
        float_tile_(kTileBytes + p.widest * channels_),
        taps_(2 * p.most_blur_taps),
        blur_scratch_(p.blur_floats),
        resizer_(p.widest, p.across_taps, p.down_taps, channels_) {
    steps_.reserve(p.prepared.size());
  }

  void run(std::ptrdiff_t sample) {
    start(sample);
    for (const Prepared& p : program_.prepared) {
      if (p.step->active != nullptr && p.step->active[sample] == 0) continue;
      apply(p, sample);
    }
    finish(sample);
  }

 private:
  // --- steps ---

  void start(std::ptrdiff_t sample) {
    const Images& x = program_.x;
    const char* data = static_cast<const char*>(x.data) + sample * x.stride_n;
    source_ = origin_.first;
    source_.data = data;
    scratch_ = -1;
    if (!origin_.in_order) {  // any other memory is put in order first
      if (x.pixel == Pixel::kUint8) {
        copy_elements<std::uint8_t>(data);
      } else {
        copy_elements<float>(data);
      }
    }
    reset();
  }

  // Pending: nothing.
  void reset() {
    kind_ = Kind::kMaps;
    size_ = source_.size;
    maps_ = whole(size_);
    outside_ = nullptr;
    turn_ = {};
    steps_.clear();
    normalize_ = nullptr;
    normalize_at_ = 0;
  }

  template <class T>
  void copy_elements(const char* data) {
    const Images& x = program_.x;
    const Picture<T> to = scratch<T>(source_.size, true);
    for (std::ptrdiff_t y = 0; y < x.height; ++y) {
      for (std::ptrdiff_t i = 0; i < x.width; ++i) {
        T* const pixel = to.data + y * to.row_stride + i * to.pixel_stride;
        const char* const from = data + y * x.stride_y + i * x.stride_x;
        for (std::ptrdiff_t c = 0; c < channels_; ++c)
          std::memcpy(pixel + c, from + c * x.stride_c, sizeof(T));
      }
    }
    become_scratch(to);
  }

  Pixel pixel() const { return normalize_ != nullptr ? Pixel::kFloat32 : source_.pixel; }

  void apply(const Prepared& p, std::ptrdiff_t sample) {
    const Step& step = *p.step;
    const double* parameters = step.parameters + sample * step.width;
    switch (step.op) {
      case Op::kFlip:
        return flip(parameters[0] != 0, parameters[1] != 0);
      case Op::kRotate90:
        return rotate90(((static_cast<int>(parameters[0]) % 4) + 4) % 4);
      case Op::kCrop:
        return crop(p, static_cast<std::ptrdiff_t>(parameters[0]),
                    static_cast<std::ptrdiff_t>(parameters[1]));
      case Op::kWarp:
        return warp(p, parameters);
      case Op::kResize:
        return resize(p, parameters);
      case Op::kBlur:
      case Op::kSharpness:
        if (pixel() == Pixel::kUint8) return filter<std::uint8_t>(p, parameters);
        return filter<float>(p, parameters);
      case Op::kNormalize:
        if (normalize_ == nullptr) {
          normalize_ = &p;
          normalize_at_ = steps_.size();
          return;
        }
        steps_.push_back({step.op, &p, parameters, nullptr, 0, 0, nullptr, nullptr, {}});
        return;
      default:
        if (pixel() == Pixel::kUint8) return add_step<std::uint8_t>(p, parameters, sample);
        return add_step<float>(p, parameters, sample);
    }
  }

  void flip(bool horizontal, bool vertical) {
    if (!horizontal && !vertical) return;
    settle_pixels();
    if (kind_ == Kind::kWarp) {
      matrix_ = product(matrix_, flip_matrix(horizontal, vertical, size_));
      return;
    }
    if (horizontal) columns_.flip(maps_.columns);
    if (vertical) rows_.flip(maps_.rows);
    turn_.flip(horizontal, vertical);
  }

  void rotate90(int k) {
    if (k == 0) return;
    settle_pixels();
    if (kind_ == Kind::kResize && k % 2 != 0) {  // its flips stay pending: a warp may take them in
      const Turn flips = turn_;
      undo_turn();
      settle();
      flip(flips.flip_columns, flips.flip_rows);
    }
    if (kind_ == Kind::kWarp) {
      matrix_ = product(matrix_, rotate90_matrix(k, size_));
    } else {
      turn_maps(k);
      turn_.rotate90(k);
    }
    if (k % 2 != 0) std::swap(size_.height, size_.width);
  }

  // A map of rows and the memory it lies in change places together.
  void swap_axes() {
    std::swap(maps_.rows, maps_.columns);
    std::swap(rows_, columns_);
    maps_.swapped = !maps_.swapped;
  }

  void turn_maps(int k) {
    if (k == 2) {
      columns_.flip(maps_.columns);
      rows_.flip(maps_.rows);
      return;
    }
    swap_axes();
    if (k == 1) rows_.flip(maps_.rows);
    if (k == 3) columns_.flip(maps_.columns);
  }

  void crop(const Prepared& p, std::ptrdiff_t top, std::ptrdiff_t left) {
    const Step& step = *p.step;
    const Size to = p.after;
    const bool inside =
        top >= 0 && left >= 0 && top + to.height <= size_.height && left + to.width <= size_.width;
    settle_pixels();
    if (kind_ == Kind::kWarp) {
      if (inside) {
        matrix_ =
            product(matrix_, {1, 0, static_cast<double>(left), 0, 1, static_cast<double>(top), 0, 0, 1});
        size_ = to;
        return;
      }
      settle();
    }
    if (!inside && step.padding == Padding::kConstant) {
      if (outside_ != nullptr && !same_fill(*outside_->step, step)) settle();
      outside_ = &p;
    }
    rows_.crop(maps_.rows, top, to.height, step.padding);
    columns_.crop(maps_.columns, left, to.width, step.padding);
    size_ = to;
    turn_ = {};
  }

  bool same_fill(const Step& a, const Step& b) const {
    for (std::ptrdiff_t c = 0; c < channels_; ++c) {
      if ((a.fill == nullptr ? 0 : a.fill[c]) != (b.fill == nullptr ? 0 : b.fill[c])) return false;
    }
    return true;
  }

  void warp(const Prepared& p, const double* parameters) {
    const Step& step = *p.step;
    Matrix m;
    std::copy_n(parameters, 9, m.begin());
    m = normalized(m);
    settle_pixels();
    if (kind_ == Kind::kWarp) {
      const Step& before = *warped_->step;
      if (before.padding != step.padding || before.interpolation != step.interpolation ||
          !same_fill(before, step)) {
        settle();
      }
    }
    if (kind_ == Kind::kWarp) {
      matrix_ = product(matrix_, m);
    } else {
      const Turn turn = turn_;
      const Size size = size_;
      undo_turn();
      settle();
      matrix_ = turn.any() ? product(turn.matrix(size), m) : m;
    }
    kind_ = Kind::kWarp;
    warped_ = &p;
    size_ = p.after;
  }

  void undo_turn() {
    if (turn_.flip_rows) rows_.flip(maps_.rows);
    if (turn_.flip_columns) columns_.flip(maps_.columns);
    if (turn_.swap) {
      swap_axes();
      std::swap(size_.height, size_.width);
    }
    turn_ = {};
  }

  void resize(const Prepared& p, const double* parameters) {
    std::array<std::ptrdiff_t, 4> box;
    for (std::size_t i = 0; i < 4; ++i) box[i] = static_cast<std::ptrdiff_t>(parameters[i]);
    settle_pixels();
    if (p.step->interpolation == Interpolation::kNearest) {
      if (kind_ != Kind::kMaps) settle();
      rows_.resize(maps_.rows, box[0], box[2], p.after.height);
      columns_.resize(maps_.columns, box[1], box[3], p.after.width);
    } else {
      settle();
      kind_ = Kind::kResize;
      resized_ = &p;
      box_ = box;
      maps_ = whole(p.after);
    }
    turn_ = {};
    size_ = p.after;
  }

  // --- whole images ---

  // Pixel steps pending: a new image.
  void settle_pixels() {
    if (!steps_.empty() || normalize_ != nullptr) materialize();
  }

  // Nothing pending but the identity: a part of the source itself where it is one, else a new image.
  void settle() {
    if (kind_ == Kind::kMaps && steps_.empty() && normalize_ == nullptr && is_view()) {
      if (is_whole(maps_.rows, source_.size.height) && is_whole(maps_.columns, source_.size.width)) return;
      if (source_.pixel == Pixel::kUint8) {
        become(view<std::uint8_t>());
      } else {
        become(view<float>());
      }
      reset();
    } else {
      materialize();
    }
  }

  // Rows of the source are rows of the result, or parts of them.
  bool is_view() const {
    return kind_ == Kind::kMaps && !maps_.swapped && maps_.rows.is_run() && maps_.columns.is_run() &&
           maps_.columns.step == 1;
  }

  template <class T>
  Picture<const T> source() const {
    return {static_cast<const T*>(source_.data),
            source_.size.height,
            source_.size.width,
            channels_,
            source_.row_stride,
            source_.pixel_stride,
            source_.channel_stride};
  }

  template <class T>
  Picture<const T> view() const {
    Picture<const T> p = source<T>();
    p.data += maps_.rows.first * p.row_stride + maps_.columns.first * p.pixel_stride;
    p.row_stride *= maps_.rows.step;
    p.height = size_.height;
    p.width = size_.width;
    return p;
  }

  template <class T>
  void become(const Picture<T>& p) {
    source_ = {
        p.data,          kPixel<std::remove_const_t<T>>, {p.height, p.width}, p.row_stride, p.pixel_stride,
        p.channel_stride};
  }

  // Of an image that scratch() has given.
  template <class T>
  void become_scratch(const Picture<T>& p) {
    become(p);
    scratch_ = scratch_ == 0 ? 1 : 0;
  }

  // A dense image in the memory that the source is not in.
  template <class T>
  Picture<T> scratch(Size size, bool interleaved) {
    T* const data = reinterpret_cast<T*>(images_[scratch_ == 0 ? 1 : 0].data());
    if (interleaved) {
      return {data, size.height, size.width, channels_, size.width * channels_, channels_, 1};
    }
    return {data, size.height, size.width, channels_, size.width, 1, size.pixels()};
  }

  bool source_interleaved() const { return source_.channel_stride == 1 && source_.pixel_stride == channels_; }

  void materialize() {
    if (pixel() == Pixel::kUint8) {
      const auto to = scratch<std::uint8_t>(size_, source_interleaved());
      pull(to, false);
      become_scratch(to);
    } else {
      const auto to = scratch<float>(size_, source_interleaved());
      pull(to, false);
      become_scratch(to);
    }
    reset();
  }

  void finish(std::ptrdiff_t sample) {
    char* const data = static_cast<char*>(y_.data) + sample * y_.stride_n;
    const auto to = [&](auto* pointer) {
      using T = std::remove_pointer_t<decltype(pointer)>;
      constexpr auto kSize = static_cast<std::ptrdiff_t>(sizeof(T));
      Picture<T> p{pointer,
                   y_.height,
                   y_.width,
                   channels_,
                   y_.stride_y / kSize,
                   y_.stride_x / kSize,
                   y_.stride_c / kSize};
      if (channels_ == 1) p.channel_stride = 1;
      if (p.width == 1) p.pixel_stride = p.channel_stride == 1 ? channels_ : 1;
      return p;
    };
    if (y_.pixel == Pixel::kUint8) {
      pull(to(reinterpret_cast<std::uint8_t*>(data)), program_.stream);
    } else {
      pull(to(reinterpret_cast<float*>(data)), program_.stream);
    }
  }

  // --- pulling rows ---

  // stream: around the cache, where that pays.
  template <class T>
  void pull(const Picture<T>& to, bool stream) {
    if constexpr (sizeof(T) == 4) {
      if (normalize_ != nullptr) {
        return source_.pixel == Pixel::kUint8 ? pull_normalized<std::uint8_t>(to, stream)
                                              : pull_normalized<float>(to, stream);
      }
    }
    const bool row = is_row(channels_, to.pixel_stride, to.channel_stride);
    const bool direct = row && alike(source<T>(), to);
    stream = stream && direct && is_interleaved(to) && to.row_stride == to.width * to.pixel_stride;
    if (row && is_view() && touches_little()) return copy_and_erase(to, stream);
    if (steps_.empty() && is_view()) return geometry_table<T>().copy(view<T>(), to, {});
    if constexpr (sizeof(T) == 1) {
      if (steps_.size() == 1 && is_view() && is_interleaved(to) && direct && steps_[0].op == Op::kTable &&
          steps_[0].table_channels == 1) {
        return pixel_table<T>().look_up_rows(view<T>(), steps_[0].tables, to, {stream, next_source()});
      }
    }
    prepare_geometry<T>();
    pull_rows(to, 0, to.height, direct, stream);
  }

  // Rows first … last, made in place (direct) or in a tile that is then copied.
  template <class T>
  void pull_rows(const Picture<T>& to, std::ptrdiff_t first, std::ptrdiff_t last, bool direct, bool stream) {
    direct = direct && !stream;
    const std::ptrdiff_t group = direct && touches_little() ? to.height : rows_at_once(sizeof(T));
    for (std::ptrdiff_t y = first; y < last; y += group) {
      const std::ptrdiff_t n = std::min(group, last - y);
      const Picture<T> target = rows_of(to, y, n);
      const Picture<T> work = direct ? target : tile<T>(tile_, n);
      read(y, work);
      apply_steps(0, steps_.size(), work, y);
      if (!direct) geometry_table<T>().copy(as_const(work), target, {stream, source_of(y + n, n)});
    }
  }

  template <class T>
  void pull_normalized(const Picture<float>& to, bool stream) {
    const bool row = is_row(channels_, to.pixel_stride, to.channel_stride);
    const bool plain = normalize_at_ == 0 && is_view();
    const bool whole_image = plain && row && steps_.empty();
    if (!plain) prepare_geometry<T>();
    const std::ptrdiff_t group = whole_image ? to.height : rows_at_once(sizeof(T));
    stream = stream && row && normalize_at_ == steps_.size();
    for (std::ptrdiff_t y = 0; y < to.height; y += group) {
      const std::ptrdiff_t n = std::min(group, to.height - y);
      const Picture<float> target = rows_of(to, y, n);
      Picture<const T> from;
      if (plain) {
        from = rows_of(view<T>(), y, n);
      } else {
        const Picture<T> work = tile<T>(tile_, n);
        read(y, work);
        apply_steps(0, normalize_at_, work, y);
        from = as_const(work);
      }
      const Picture<float> work = row ? target : tile<float>(float_tile_, n);
      geometry_table<T>().normalize(from, normalize_->scale.data(), normalize_->bias.data(), work,
                                    {stream, plain ? nullptr : source_of(y + n, n)});
      apply_steps(normalize_at_, steps_.size(), work, y);
      if (!row) geometry_table<float>().copy(as_const(work), target, {});
    }
  }

  template <class T>
  static Picture<const T> as_const(const Picture<T>& p) {
    return {p.data, p.height, p.width, p.channels, p.row_stride, p.pixel_stride, p.channel_stride};
  }

  // A part of the source, of which some rows are touched again.
  template <class T>
  void copy_and_erase(const Picture<T>& to, bool stream) {
    const auto copy = [&](std::ptrdiff_t first, std::ptrdiff_t last) {
      if (first == last) return;
      geometry_table<T>().copy(rows_of(view<T>(), first, last - first), rows_of(to, first, last - first),
                               {stream, nullptr});
    };
    if (!stream) {
      copy(0, to.height);
      return apply_steps(0, steps_.size(), to, 0);
    }
    double top = static_cast<double>(to.height), bottom = 0;
    for (const PixelStep& s : steps_) {
      top = std::min(top, s.parameters[0]);
      bottom = std::max(bottom, s.parameters[0] + s.parameters[2]);
    }
    const auto height = static_cast<double>(to.height);
    const auto end = static_cast<std::ptrdiff_t>(std::clamp(bottom, 0.0, height));
    const auto begin = std::min(static_cast<std::ptrdiff_t>(std::clamp(top, 0.0, height)), end);
    copy(0, begin);
    pull_rows(to, begin, end, false, true);
    copy(end, to.height);
  }

  // No step passes over all pixels.
  bool touches_little() const {
    return std::all_of(steps_.begin(), steps_.end(), [](const PixelStep& s) { return s.op == Op::kErase; });
  }

  std::ptrdiff_t rows_at_once(std::size_t element) const {
    const std::ptrdiff_t bytes = size_.width * channels_ * static_cast<std::ptrdiff_t>(element);
    return std::max<std::ptrdiff_t>(1, kTileBytes / bytes);
  }

  // Rows between the steps, like those of the source.
  template <class T>
  Picture<T> tile(const Buffer<float>& memory, std::ptrdiff_t rows) const {
    T* const data = reinterpret_cast<T*>(memory.data());
    if (source_interleaved())
      return {data, rows, size_.width, channels_, size_.width * channels_, channels_, 1};
    return {data, rows, size_.width, channels_, size_.width, 1, rows * size_.width};
  }

  // Rows y … y + out.height of what the geometry makes of the source.
  template <class T>
  void read(std::ptrdiff_t y, const Picture<T>& out) {
    const GeometryTable<T>& k = geometry_table<T>();
    if (kind_ == Kind::kWarp)
      return k.warp(source<T>(), warp_, static_cast<const T*>(warped_->fill()), y, out);
    if (kind_ == Kind::kResize) return resizer_.read(box<T>(), fill<T>(), y, out);
    if (is_view()) return k.copy(rows_of(view<T>(), y, out.height), out, {});
    k.gather(source<T>(), maps_, fill<T>(), y, out);
  }

  template <class T>
  const T* fill() const {
    return outside_ == nullptr ? nullptr : static_cast<const T*>(outside_->fill());
  }

  // The same place of the next sample, if that is where this one's pixels come from; else nothing.
  const void* next_source() const {
    constexpr std::ptrdiff_t kMost = 512 << 10;  // of an image that then stays in the second cache
    const std::ptrdiff_t size = source_.size.height * source_.row_stride * bytes_of(source_.pixel);
    if (scratch_ != -1 || !source_interleaved() || size > kMost) return nullptr;
    return static_cast<const char*>(source_.data) + program_.x.stride_n;
  }

  // Where the n rows of the output from y on will be read, of the next sample behind the last one.
  const void* source_of(std::ptrdiff_t y, std::ptrdiff_t n) const {
    if (scratch_ != -1 || kind_ != Kind::kMaps || maps_.swapped || !source_interleaved()) return nullptr;
    if (y >= size_.height) return static_cast<const char*>(source_.data) + program_.x.stride_n;
    const std::ptrdiff_t last = std::min(y + n, size_.height) - 1;
    const std::ptrdiff_t row =
        std::max<std::ptrdiff_t>(std::min(maps_.rows.from(y), maps_.rows.from(last)), 0);
    return static_cast<const char*>(source_.data) + row * source_.row_stride * bytes_of(source_.pixel);
  }

  // Reads that jump about wait for memory at every step; one pass in order before them does not (reads:
  // prefetching is a hint, and so many of them are not taken). Worth it for an image that then stays in the
  // second cache.
  void fetch_source() const {
    constexpr std::ptrdiff_t kMost = 512 << 10, kLine = 64;
    const std::ptrdiff_t size = bytes_of(source_.pixel), planes = source_interleaved() ? 1 : channels_;
    const std::ptrdiff_t row = source_.size.width * (source_interleaved() ? channels_ : 1) * size;
    if (scratch_ != -1 || row * source_.size.height * planes > kMost) return;
    for (std::ptrdiff_t c = 0; c < planes; ++c) {
      for (std::ptrdiff_t y = 0; y < source_.size.height; ++y) {
        const char* p = static_cast<const char*>(source_.data) +
                        (c * source_.channel_stride + y * source_.row_stride) * size;
        for (std::ptrdiff_t i = 0; i < row; i += kLine) {
          (void)*static_cast<const volatile char*>(p + i);
        }
      }
    }
  }

  template <class T>
  void prepare_geometry() {
    if (kind_ == Kind::kWarp || (kind_ == Kind::kMaps && maps_.swapped)) fetch_source();
    if (kind_ == Kind::kWarp) {
      const Step& step = *warped_->step;
      std::copy(matrix_.begin(), matrix_.end(), warp_.m);
      warp_.padding = step.padding;
      warp_.interpolation = step.interpolation;
      warp_.projective = matrix_[6] != 0 || matrix_[7] != 0;
    } else if (kind_ == Kind::kResize) {
      resizer_.prepare(box<T>(), maps_, resized_->after, resized_->step->antialias);
    }
  }

  // What is resized.
  template <class T>
  Picture<const T> box() const {
    Picture<const T> p = source<T>();
    p.data += box_[0] * p.row_stride + box_[1] * p.pixel_stride;
    p.height = box_[2];
    p.width = box_[3];
    return p;
  }

  // --- pixel steps ---

  template <class T>
  void add_step(const Prepared& p, const double* parameters, std::ptrdiff_t sample) {
    const Step& step = *p.step;
    PixelStep s{step.op, &p, parameters, nullptr, 0, 0, nullptr, nullptr, {step.seed, 0}};
    if (step.index != nullptr) s.stream.stream = step.index[sample];
    if (channels_ == 1 && (step.op == Op::kSaturation || step.op == Op::kHue || step.op == Op::kGrayscale))
      return;
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
      case Op::kEqualize:
      case Op::kAutocontrast:
        measure<T>(s, parameters);
        break;
      default:
        break;
    }
    if constexpr (sizeof(T) == 1) {
      if (s.op == Op::kTable && last_is_table()) return add_to_table(s);
    }
    steps_.push_back(s);
  }

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

  // Statistics of the image as it is now, and what they make of the step.
  template <class T>
  void measure(PixelStep& s, const double* parameters) {
    Op op = s.op;
    // Bytes: tables that are pending are looked through.
    const bool tables_only = steps_.empty() || (sizeof(T) == 1 && steps_.size() == 1 && last_is_table());
    if (normalize_ != nullptr || !tables_only || !is_view()) {
      materialize();
      s.tables = tables_.data();
    }
    const PixelTable<T>& k = pixel_table<T>();
    const Picture<const T> x = view<T>();
    const std::uint8_t* pending = steps_.empty() ? nullptr : steps_.back().tables;
    const std::ptrdiff_t pending_channels = steps_.empty() ? 1 : steps_.back().table_channels;
    if (op == Op::kContrast) {
      s.mean = k.mean_luma(x, pending, pending_channels);
      if constexpr (sizeof(T) == 1) {
        contrast_table(parameters[0], s.mean, s.tables);
        s.op = Op::kTable;
      }
      return;
    }
    s.table_channels = channels_;
    if (op == Op::kEqualize) {
      k.histogram(x, counts_.data());
      std::array<std::uint32_t, kLevels> mapped;
      for (std::ptrdiff_t c = 0; c < channels_; ++c) {
        const std::uint32_t* counts = counts_.data() + c * kLevels;
        if (pending != nullptr) {
          count_through(counts, pending + (pending_channels == 1 ? 0 : c * kLevels), mapped.data());
          counts = mapped.data();
        }
        equalize_table(counts, s.tables + c * kLevels);
      }
      s.op = Op::kTable;
      return;
    }
    float* const numbers = extremes_.data() + static_cast<std::ptrdiff_t>(steps_.size()) * 2 * channels_;
    T* const low = reinterpret_cast<T*>(numbers);
    T* const high = reinterpret_cast<T*>(numbers + channels_);
    k.min_max(x, pending, pending_channels, low, high);
    if constexpr (sizeof(T) == 1) {
      for (std::ptrdiff_t c = 0; c < channels_; ++c)
        autocontrast_table(low[c], high[c], s.tables + c * kLevels);
      s.op = Op::kTable;
    } else {
      s.low = low;
      s.high = high;
    }
  }

  template <class T>
  void filter(const Prepared& p, const double* parameters) {
    const Step& step = *p.step;
    float* const taps_x = taps_.data();
    float* const taps_y = taps_x + program_.most_blur_taps;
    std::ptrdiff_t kx = 0, ky = 0;
    if (step.op == Op::kBlur) {
      kx = gaussian_taps(step.out_width, parameters[0], taps_x);
      ky = gaussian_taps(step.out_height, parameters[1], taps_y);
      if (kx == 1 && ky == 1) return;
    }
    settle_pixels();
    settle();
    const Picture<const T> x = source<T>();
    const Picture<T> out = scratch<T>(size_, source_interleaved());
    if (step.op == Op::kBlur) {
      pixel_table<T>().blur(x, out, taps_x, kx, taps_y, ky, blur_scratch_.data());
    } else {
      pixel_table<T>().sharpness(x, out, parameters[0]);
    }
    become_scratch(out);
    reset();
  }

  // Steps first … last on rows y … of the image.
  template <class T>
  void apply_steps(std::size_t first, std::size_t last, const Picture<T>& rows, std::ptrdiff_t y) {
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

  enum class Kind { kMaps, kWarp, kResize };

  const Program& program_;
  const Images& y_;
  std::ptrdiff_t channels_;
  Origin origin_;

  Source source_{};
  int scratch_ = -1;  // which of images_ it lies in; −1: none
  Kind kind_ = Kind::kMaps;
  Size size_{};                          // of the result so far
  Maps maps_;                            // kMaps; kResize: of the resized image
  const Prepared* outside_ = nullptr;    // whose fill the maps' outside has
  Turn turn_;                            // what the maps do since they last cut
  Matrix matrix_{};                      // kWarp
  const Prepared* warped_ = nullptr;     // kWarp: padding, fill, interpolation
  const Prepared* resized_ = nullptr;    // kResize
  std::array<std::ptrdiff_t, 4> box_{};  // kResize
  Warp warp_{};
  std::vector<PixelStep> steps_;
  const Prepared* normalize_ = nullptr;  // in front of steps_[normalize_at_]
  std::size_t normalize_at_ = 0;

  AxisMaker rows_, columns_;
  std::array<Buffer<float>, 2> images_;
  Buffer<std::uint8_t> tables_;
  Buffer<float> extremes_;
  Buffer<std::uint32_t> counts_;
  Buffer<float> tile_, float_tile_, taps_, blur_scratch_;
  Resizer resizer_;
};

}  // namespace

void run(const Images& x, std::span<const Step> steps, const Images& y) {
  if (x.n == 0) return;
  const Program program(x, steps);
  std::vector<Worker> workers;
  workers.reserve(program.team.count());
  for (int i = 0; i < program.team.size; ++i) workers.emplace_back(program, y);
  threading::for_row_shares(program.team, static_cast<std::size_t>(x.n),
                            [&](std::size_t begin, std::size_t end, std::size_t part) {
                              for (std::size_t i = begin; i < end; ++i) {
                                workers[part].run(static_cast<std::ptrdiff_t>(i));
                              }
                              geometry_table<float>().finish_stream(program.stream);
                            });
}

}  // namespace regkern::augment
