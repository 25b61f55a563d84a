// The order of an array's axes in memory. What is dense in another order than C's (channels last behind axis
// 1, a moved axis) is worked on in its own: the operands of a call are all seen with their axes in the order
// of x's memory, where those that lie like x are dense.

#ifndef REGKERN_BINDINGS_ORDER_H_
#define REGKERN_BINDINGS_ORDER_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "arrays.h"

namespace regkern::bindings {

// Whether an array is dense with its axes in an order: aligned, without gaps.
inline bool is_dense(const Array& a, const std::vector<int>& axes) {
  auto step = static_cast<std::ptrdiff_t>(item_size(a.dtype()));
  if (reinterpret_cast<std::uintptr_t>(a.address()) % static_cast<std::size_t>(step) != 0) return false;
  for (std::size_t i = axes.size(); i-- > 0;) {
    if (a.dim(axes[i]) != 1 && a.strides()[axes[i]] != step) return false;
    step *= a.dim(axes[i]);
  }
  return true;
}

class AxisOrder {
 public:
  AxisOrder() = default;  // as they are
  explicit AxisOrder(std::vector<int> axes) : axes_(std::move(axes)) {}

  // In which x is dense, the longest step first; as they are where it is in none.
  static AxisOrder of_memory(const Array& x) {
    if (x.dense()) return {};
    // An axis of length 1 has no step: it stays in front if it is the first, else follows the first one.
    std::vector<int> axes;
    for (int i = 0; i < x.ndim(); ++i) {
      if (x.dim(i) != 1) axes.push_back(i);
    }
    std::sort(axes.begin(), axes.end(), [&](int a, int b) { return x.strides()[a] > x.strides()[b]; });
    const auto first = std::find(axes.begin(), axes.end(), 0);
    auto at = first == axes.end() ? axes.begin() : first + 1;
    for (int i = 0; i < x.ndim(); ++i) {
      if (x.dim(i) == 1) at = axes.insert(at, i) + 1;
    }
    return is_dense(x, axes) ? AxisOrder(std::move(axes)) : AxisOrder();
  }
  // This one where it leaves the first `count` axes in front, else none.
  AxisOrder keeping(int count) const {
    const bool stay = unchanged() || std::all_of(axes_.begin(), axes_.begin() + count,
                                                 [count](int axis) { return axis < count; });
    return stay ? *this : AxisOrder();
  }

  // The same with the axis at one place moved to an earlier one.
  AxisOrder moved(const Array& x, int from, int to) const {
    std::vector<int> axes = axes_;
    for (int i = 0; unchanged() && i < x.ndim(); ++i) axes.push_back(i);
    std::rotate(axes.begin() + to, axes.begin() + from, axes.begin() + from + 1);
    return AxisOrder(std::move(axes));
  }

  bool unchanged() const { return axes_.empty(); }
  const std::vector<int>& axes() const { return axes_; }
  // Where an axis of the array comes.
  int place(int axis) const {
    if (unchanged()) return axis;
    return static_cast<int>(std::find(axes_.begin(), axes_.end(), axis) - axes_.begin());
  }
  // Numbers of the axes, lengths or strides, in the order.
  std::vector<std::ptrdiff_t> of(const Array& a, const std::ptrdiff_t* numbers) const {
    std::vector<std::ptrdiff_t> ordered(numbers, numbers + a.ndim());
    for (std::size_t i = 0; i < axes_.size(); ++i) ordered[i] = numbers[axes_[i]];
    return ordered;
  }

 private:
  std::vector<int> axes_;  // of the array; empty: as they are
};

// A tuple, or None for the axes as they are.
inline py::object to_python(const AxisOrder& order) {
  if (order.unchanged()) return py::none();
  py::tuple axes(order.axes().size());
  for (std::size_t i = 0; i < axes.size(); ++i) axes[i] = order.axes()[i];
  return axes;
}

// An operand, or none, with its axes in an order.
class Ordered {
 public:
  Ordered(const Array& a, const AxisOrder& order) : array_(&a), dense_(a && a.dense()) {
    if (!a || order.unchanged()) return;
    dense_ = is_dense(a, order.axes());
    strides_ = order.of(a, a.strides());
  }
  template <class T>
  In<T> in() const {
    return *array_ ? In<T>{array_->data<const T>(), strides(), storage_of(array_->dtype())} : In<T>{};
  }
  template <class T>
  Out<T> out() const {
    return *array_ ? Out<T>{array_->data<T>(), strides(), storage_of(array_->dtype())} : Out<T>{};
  }
  bool dense() const { return dense_; }
  // One a dimension, of a dense operand too.
  const std::ptrdiff_t* steps() const { return strides_.empty() ? array_->strides() : strides_.data(); }

 private:
  // Memory of half precision is none that kernels read as it lies.
  const std::ptrdiff_t* strides() const { return dense_ && !is_half(array_->dtype()) ? nullptr : steps(); }
  const Array* array_;
  std::vector<std::ptrdiff_t> strides_;
  bool dense_;
};

}  // namespace regkern::bindings

#endif  // REGKERN_BINDINGS_ORDER_H_
