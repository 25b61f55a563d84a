// Resizing with triangles: columns first, into a ring of rows, then rows, as they are asked for.

#ifndef REGKERN_CORE_AUGMENT_RESIZE_H_
#define REGKERN_CORE_AUGMENT_RESIZE_H_

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "core/augment/maps.h"
#include "core/augment/pictures.h"
#include "kernels/augment/geometry.h"

namespace regkern::augment {

// Room for the neighbours of an output, and an even number of them.
inline std::ptrdiff_t most_taps(std::ptrdiff_t box, std::ptrdiff_t size) {
  return 2 * ((box + size - 1) / size) + 4;
}

class Resizer {
 public:
  // The longest output and the most taps of all that it will be asked for, 0: nothing.
  Resizer(std::ptrdiff_t longest, std::ptrdiff_t across, std::ptrdiff_t down, std::ptrdiff_t channels)
      : axes_{AxisTaps(longest, across), AxisTaps(longest, down)},
        real_weights_(std::max(across, down)),
        ring_(down * longest * channels),
        ring_rows_(down),
        pointers_(down),
        slots_(down) {}

  // For x, a box of the source, made `size`, of which maps take rows and columns.
  template <class T>
  void prepare(const Picture<const T>& x, const Maps& maps, Size size, bool antialias) {
    make_taps<T>(axes_[0], maps.columns, x.width, size.width, antialias);
    make_taps<T>(axes_[1], maps.rows, x.height, size.height, antialias);
    std::fill_n(ring_rows_.data(), slots_, -1);
  }

  // Rows y … y + out.height of the result. fill: one number a channel.
  template <class T>
  void read(const Picture<const T>& x, const T* fill, std::ptrdiff_t y, const Picture<T>& out) {
    using Between = typename ResizeTypes<T>::Between;
    const GeometryTable<T>& k = geometry_table<T>();
    const auto across = taps<T>(axes_[0], out.width), down = taps<T>(axes_[1], 0);
    const bool interleaved = is_interleaved(out);
    const std::ptrdiff_t channels = out.channels, width = out.width, row = width * channels;
    const auto fill_pixel = [&](T* to) {
      for (std::ptrdiff_t c = 0; c < channels; ++c) to[c * out.channel_stride] = fill[c];
    };
    auto* const ring = reinterpret_cast<Between*>(ring_.data());
    auto* const pointers = reinterpret_cast<const Between**>(pointers_.data());
    for (std::ptrdiff_t r = 0; r < out.height; ++r) {
      T* const to = out.data + r * out.row_stride;
      const std::ptrdiff_t first = down.first[y + r], count = down.count[y + r];
      if (first == kOutside) {
        for (std::ptrdiff_t i = 0; i < width; ++i) fill_pixel(to + i * out.pixel_stride);
        continue;
      }
      for (std::ptrdiff_t j = first; j < first + count; ++j) {
        const std::ptrdiff_t slot = j % slots_;
        Between* const line = ring + slot * row;
        if (ring_rows_[slot] != j) {
          const Row<Between> target{line, width, channels, interleaved ? channels : 1,
                                    interleaved ? 1 : width};
          k.resize_across(x.row(j), across, target);
          ring_rows_[slot] = j;
        }
        pointers[j - first] = line;
      }
      const auto* const weights = down.weights + (y + r) * down.stride;
      if (interleaved) {
        k.resize_down(pointers, weights, count, row, to);
      } else {
        for (std::ptrdiff_t c = 0; c < channels; ++c) {
          k.resize_down(pointers, weights, count, width, to + c * out.channel_stride);
          for (std::ptrdiff_t j = 0; j < count; ++j) pointers[j] += width;
        }
      }
      for (std::ptrdiff_t i = 0; axes_[0].outside && i < width; ++i) {
        if (across.first[i] == kOutside) fill_pixel(to + i * out.pixel_stride);
      }
    }
  }

 private:
  template <class T>
  using Weight = typename ResizeTypes<T>::Weight;

  struct AxisTaps {
    AxisTaps(std::ptrdiff_t longest, std::ptrdiff_t taps)
        : stride(taps),
          first(taps == 0 ? 0 : longest),
          count(taps == 0 ? 0 : longest),
          weights(longest * taps) {}

    std::ptrdiff_t stride;
    std::ptrdiff_t most = 0;  // of the counts
    bool outside = false;     // some are
    Buffer<std::int32_t> first, count;
    Buffer<float> weights;
  };

  template <class T>
  static Taps<Weight<T>> taps(const AxisTaps& axis, std::ptrdiff_t length) {
    return {length,
            axis.stride,
            axis.most,
            axis.first.data(),
            axis.count.data(),
            reinterpret_cast<const Weight<T>*>(axis.weights.data())};
  }

  // Triangles: see resize_weights of the reference.
  template <class T>
  void make_taps(AxisTaps& to, const Axis& axis, std::ptrdiff_t box, std::ptrdiff_t size, bool antialias) {
    const double scale = static_cast<double>(box) / static_cast<double>(size);
    const double support = antialias ? std::max(scale, 1.0) : 1.0;
    double* const w = real_weights_.data();
    to.outside = false;
    to.most = 0;
    for (std::ptrdiff_t i = 0; i < axis.length; ++i) {
      const std::ptrdiff_t r = axis.from(i);
      if (r == kOutside) {
        to.outside = true;
        to.first[i] = kOutside;
        to.count[i] = 0;
        continue;
      }
      const double centre = (static_cast<double>(r) + 0.5) * scale;
      const double begin = std::max(std::floor(centre - support + 0.5), 0.0);
      const double end = std::min(std::floor(centre + support + 0.5), static_cast<double>(box));
      const auto n = static_cast<std::ptrdiff_t>(end - begin);
      double total = 0;
      for (std::ptrdiff_t j = 0; j < n; ++j) {
        w[j] = std::max(0.0, 1 - std::abs(begin + static_cast<double>(j) + 0.5 - centre) / support);
        total += w[j];
      }
      to.first[i] = static_cast<std::int32_t>(begin);
      to.count[i] = static_cast<std::int32_t>(n);
      auto* const weights = reinterpret_cast<Weight<T>*>(to.weights.data()) + i * to.stride;
      if constexpr (sizeof(T) == 1) {
        fixed_point(w, total, n, weights);
        trim(weights, n, to.first[i], to.count[i]);
      } else {
        for (std::ptrdiff_t j = 0; j < n; ++j) weights[j] = static_cast<float>(w[j] / total);
      }
      to.most = std::max<std::ptrdiff_t>(to.most, to.count[i]);
    }
  }

  // In units of 2⁻¹⁴. What rounding leaves goes to the largest, the first of equals, so that they sum to 1.
  static void fixed_point(const double* w, double total, std::ptrdiff_t n, std::int16_t* weights) {
    int rest = 1 << 14;
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      weights[j] = static_cast<std::int16_t>(std::floor(w[j] / total * 16384 + 0.5));
      rest -= weights[j];
    }
    std::int16_t& largest = *std::max_element(weights, weights + n);
    largest = static_cast<std::int16_t>(largest + rest);
  }

  // Leaves out neighbours at the ends that count nothing; a zero behind the last makes the number even.
  static void trim(std::int16_t* weights, std::ptrdiff_t n, std::int32_t& first, std::int32_t& count) {
    std::ptrdiff_t skip = 0;
    while (weights[n - 1] == 0) --n;
    while (weights[skip] == 0) ++skip;
    std::copy(weights + skip, weights + n, weights);
    first += static_cast<std::int32_t>(skip);
    count = static_cast<std::int32_t>(n - skip);
    weights[count] = 0;
  }

  std::array<AxisTaps, 2> axes_;  // across, down
  Buffer<double> real_weights_;
  Buffer<float> ring_;  // rows resized across: row j in slot j mod slots_
  Buffer<std::ptrdiff_t> ring_rows_;
  Buffer<const void*> pointers_;
  std::ptrdiff_t slots_;
};

}  // namespace regkern::augment

#endif  // REGKERN_CORE_AUGMENT_RESIZE_H_
