// Where the pixels of a sample will come from: geometry that is put off, as maps of rows and columns, as a
// matrix, or as a resize and maps of its result.
//
// A step that composes with what is pending changes it. One that does not calls settle(), which has to make
// the image and to reset the placement.

#ifndef REGKERN_CORE_AUGMENT_PLACEMENT_H_
#define REGKERN_CORE_AUGMENT_PLACEMENT_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "core/augment/maps.h"
#include "core/augment/pictures.h"
#include "core/augment/program.h"
#include "core/augment/resize.h"
#include "kernels/augment/geometry.h"

namespace regkern::augment {

class Placement {
 public:
  explicit Placement(const Program& p)
      : channels_(p.x.channels),
        rows_(p.widest),
        columns_(p.widest),
        resizer_(p.widest, p.across_taps, p.down_taps, channels_) {}

  // Nothing pending, on an image of a size.
  void reset(Size size) {
    kind_ = Kind::kMaps;
    size_ = size;
    maps_ = whole(size);
    outside_ = nullptr;
    turn_ = {};
  }

  Size size() const { return size_; }  // of the result so far
  // Rows of the result are rows of the image, or parts of them.
  bool is_view() const {
    return kind_ == Kind::kMaps && !maps_.swapped && maps_.rows.is_run() && maps_.columns.is_run() &&
           maps_.columns.step == 1;
  }
  bool is_identity(Size size) const {
    return is_view() && is_whole(maps_.rows, size.height) && is_whole(maps_.columns, size.width);
  }
  // Whether rows come from rows of the image, in any order; and the lowest of those that rows first … last
  // come from.
  bool keeps_rows() const { return kind_ == Kind::kMaps && !maps_.swapped; }
  std::ptrdiff_t lowest(std::ptrdiff_t first, std::ptrdiff_t last) const {
    return std::max<std::ptrdiff_t>(std::min(maps_.rows.from(first), maps_.rows.from(last)), 0);
  }
  // Whether reads jump about in the image.
  bool scatters() const { return kind_ == Kind::kWarp || (kind_ == Kind::kMaps && maps_.swapped); }

  // --- steps ---

  void flip(bool horizontal, bool vertical) {
    if (kind_ == Kind::kWarp) {
      matrix_ = product(matrix_, flip_matrix(horizontal, vertical, size_));
      return;
    }
    if (horizontal) columns_.flip(maps_.columns);
    if (vertical) rows_.flip(maps_.rows);
    turn_.flip(horizontal, vertical);
  }

  template <class Settle>
  void rotate90(int k, Settle&& settle) {
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

  template <class Settle>
  void crop(const Prepared& p, std::ptrdiff_t top, std::ptrdiff_t left, Settle&& settle) {
    const Step& step = *p.step;
    const Size to = p.after;
    const bool inside =
        top >= 0 && left >= 0 && top + to.height <= size_.height && left + to.width <= size_.width;
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

  template <class Settle>
  void warp(const Prepared& p, const double* parameters, Settle&& settle) {
    const Step& step = *p.step;
    Matrix m;
    std::copy_n(parameters, 9, m.begin());
    m = normalized(m);
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

  template <class Settle>
  void resize(const Prepared& p, const double* parameters, Settle&& settle) {
    std::array<std::ptrdiff_t, 4> box;
    for (std::size_t i = 0; i < 4; ++i) box[i] = static_cast<std::ptrdiff_t>(parameters[i]);
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

  // --- rows of the result, from the image x ---

  // Of a view: the part of x that the result is.
  template <class T>
  Picture<const T> view(Picture<const T> x) const {
    x.data += maps_.rows.first * x.row_stride + maps_.columns.first * x.pixel_stride;
    x.row_stride *= maps_.rows.step;
    x.height = size_.height;
    x.width = size_.width;
    return x;
  }

  // Before rows are read.
  template <class T>
  void prepare(const Picture<const T>& x) {
    if (kind_ == Kind::kWarp) {
      const Step& step = *warped_->step;
      std::copy(matrix_.begin(), matrix_.end(), warp_.m);
      warp_.padding = step.padding;
      warp_.interpolation = step.interpolation;
      warp_.projective = matrix_[6] != 0 || matrix_[7] != 0;
    } else if (kind_ == Kind::kResize) {
      resizer_.prepare(box(x), maps_, resized_->after, resized_->step->antialias);
    }
  }

  // Rows y … y + out.height.
  template <class T>
  void read(const Picture<const T>& x, std::ptrdiff_t y, const Picture<T>& out) {
    const GeometryTable<T>& k = geometry_table<T>();
    const T* const fill = outside_ == nullptr ? nullptr : static_cast<const T*>(outside_->fill());
    if (kind_ == Kind::kWarp) return k.warp(x, warp_, static_cast<const T*>(warped_->fill()), y, out);
    if (kind_ == Kind::kResize) return resizer_.read(box(x), fill, y, out);
    if (is_view()) return k.copy(rows_of(view(x), y, out.height), out, {});
    k.gather(x, maps_, fill, y, out);
  }

 private:
  enum class Kind { kMaps, kWarp, kResize };

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

  void undo_turn() {
    if (turn_.flip_rows) rows_.flip(maps_.rows);
    if (turn_.flip_columns) columns_.flip(maps_.columns);
    if (turn_.swap) {
      swap_axes();
      std::swap(size_.height, size_.width);
    }
    turn_ = {};
  }

  bool same_fill(const Step& a, const Step& b) const {
    for (std::ptrdiff_t c = 0; c < channels_; ++c) {
      if ((a.fill == nullptr ? 0 : a.fill[c]) != (b.fill == nullptr ? 0 : b.fill[c])) return false;
    }
    return true;
  }

  // What is resized.
  template <class T>
  Picture<const T> box(Picture<const T> x) const {
    x.data += box_[0] * x.row_stride + box_[1] * x.pixel_stride;
    x.height = box_[2];
    x.width = box_[3];
    return x;
  }

  std::ptrdiff_t channels_;
  Kind kind_ = Kind::kMaps;
  Size size_{};
  Maps maps_;                            // kMaps; kResize: of the resized image
  const Prepared* outside_ = nullptr;    // whose fill the maps' outside has
  Turn turn_;                            // what the maps do since they last cut
  Matrix matrix_{};                      // kWarp
  const Prepared* warped_ = nullptr;     // kWarp: padding, fill, interpolation
  const Prepared* resized_ = nullptr;    // kResize
  std::array<std::ptrdiff_t, 4> box_{};  // kResize
  Warp warp_{};
  AxisMaker rows_, columns_;
  Resizer resizer_;
};

}  // namespace regkern::augment

#endif  // REGKERN_CORE_AUGMENT_PLACEMENT_H_
