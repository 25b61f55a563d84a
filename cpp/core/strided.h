// Walking arrays of any strides in blocks: gather a block into the L1 cache, work on it there, scatter it
// back.

#ifndef REGKERN_CORE_STRIDED_H_
#define REGKERN_CORE_STRIDED_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "core/half.h"
#include "regkern/array.h"

namespace regkern {

// How an operand lies in memory: bytes from one element to the next along each dimension (nullptr: dense),
// and what is there.
struct OperandLayout {
  OperandLayout(const std::ptrdiff_t* s = nullptr, Storage kind = Storage::kNative)
      : strides(s), storage(kind) {}
  template <class Operand>
    requires requires(Operand o) { o.storage; }
  OperandLayout(const Operand& operand) : strides(operand.strides), storage(operand.storage) {}
  const std::ptrdiff_t* strides;
  Storage storage;
};

// One array as a base and byte strides over the dimensions of a walk, positions counted in the walk's C
// order.
struct Strided {
  int ndim = 0;
  Storage storage = Storage::kNative;
  std::array<std::size_t, kMaxDims> dims;
  std::array<std::ptrdiff_t, kMaxDims> strides;

  // Calls run(offset, n) for each piece of [first, first + n) that lies in one innermost row.
  template <class Run>
  void for_runs(std::size_t first, std::size_t n, Run&& run) const {
    if (n == 0) return;  // dims may be 0
    if (ndim == 0) {
      run(std::ptrdiff_t{0}, std::size_t{1});
      return;
    }
    std::array<std::size_t, kMaxDims> at;
    std::ptrdiff_t offset = 0;
    for (int i = ndim - 1; i >= 0; --i) {
      at[i] = first % dims[i];
      first /= dims[i];
      offset += static_cast<std::ptrdiff_t>(at[i]) * strides[i];
    }
    const int inner = ndim - 1;
    while (n != 0) {
      const std::size_t length = std::min(n, dims[inner] - at[inner]);
      run(offset, length);
      n -= length;
      offset += static_cast<std::ptrdiff_t>(length) * strides[inner];
      at[inner] += length;
      for (int i = inner; i > 0 && at[i] == dims[i]; --i) {  // carry
        offset += strides[i - 1] - static_cast<std::ptrdiff_t>(dims[i]) * strides[i];
        at[i] = 0;
        ++at[i - 1];
      }
    }
  }

  // Elements first ... first + n − 1, to a dense buffer. memcpy, because they may be misaligned.
  template <class T>
  void gather(const T* base, std::size_t first, std::size_t n, T* to) const {
    if constexpr (std::is_same_v<T, float>) {
      if (storage != Storage::kNative) return gather_halves(base, first, n, to);
    }
    const char* bytes = reinterpret_cast<const char*>(base);
    for_runs(first, n, [&](std::ptrdiff_t offset, std::size_t length) {
      const char* from = bytes + offset;
      const std::ptrdiff_t step = strides[ndim - (ndim > 0)];
      if (step == sizeof(T)) {
        std::memcpy(to, from, length * sizeof(T));
      } else if (step == 0) {
        T value;
        std::memcpy(&value, from, sizeof(T));
        std::fill_n(to, length, value);
      } else {
        for (std::size_t i = 0; i < length; ++i, from += step) std::memcpy(to + i, from, sizeof(T));
      }
      to += length;
    });
  }

  template <class T>
  void scatter(const T* from, T* base, std::size_t first, std::size_t n) const {
    if constexpr (std::is_same_v<T, float>) {
      if (storage != Storage::kNative) return scatter_halves(from, base, first, n);
    }
    char* bytes = reinterpret_cast<char*>(base);
    for_runs(first, n, [&](std::ptrdiff_t offset, std::size_t length) {
      char* to = bytes + offset;
      const std::ptrdiff_t step = strides[ndim - (ndim > 0)];
      if (step == sizeof(T)) {
        std::memcpy(to, from, length * sizeof(T));
      } else {
        for (std::size_t i = 0; i < length; ++i, to += step) std::memcpy(to, from + i, sizeof(T));
      }
      from += length;
    });
  }

  // Has `to` follow what others have written to elements first ... first + n − 1, to which it was rounded.
  void follow(const float* base, std::size_t first, std::size_t n, float* to) const {
    const char* bytes = reinterpret_cast<const char*>(base);
    for_runs(first, n, [&](std::ptrdiff_t offset, std::size_t length) {
      const char* from = bytes + offset;
      const std::ptrdiff_t step = strides[ndim - (ndim > 0)];
      if (step == kHalf || length == 1) {
        regkern::follow(storage, from, to, length);
      } else {
        side_by_side(from, step, length,
                     [&](const std::uint16_t* halves, std::size_t done, std::size_t some) {
                       regkern::follow(storage, halves, to + done, some);
                     });
      }
      to += length;
    });
  }

  // Whether the walk passes through aligned memory without gaps, of what T says.
  template <class T>
  bool dense(const T* base) const {
    if (storage != Storage::kNative || reinterpret_cast<std::uintptr_t>(base) % alignof(T) != 0) return false;
    std::ptrdiff_t step = sizeof(T);
    for (int i = ndim - 1; i >= 0; --i) {
      if (strides[i] != step && dims[i] != 1) return false;
      step *= static_cast<std::ptrdiff_t>(dims[i]);
    }
    return true;
  }

 private:
  static constexpr std::size_t kHalf = 2;            // bytes
  static constexpr std::size_t kHalvesAtOnce = 256;  // that do not lie side by side

  // Calls use(halves, done, some) with copies of `some` numbers of two bytes, `done` of `length` before them.
  template <class Use>
  static void side_by_side(const char* from, std::ptrdiff_t step, std::size_t length, Use&& use) {
    std::uint16_t halves[kHalvesAtOnce];
    for (std::size_t done = 0; done < length; done += kHalvesAtOnce) {
      const std::size_t some = std::min(kHalvesAtOnce, length - done);
      for (std::size_t i = 0; i < some; ++i, from += step) std::memcpy(halves + i, from, kHalf);
      use(halves, done, some);
    }
  }

  void gather_halves(const void* base, std::size_t first, std::size_t n, float* to) const {
    const char* bytes = static_cast<const char*>(base);
    for_runs(first, n, [&](std::ptrdiff_t offset, std::size_t length) {
      const char* from = bytes + offset;
      const std::ptrdiff_t step = strides[ndim - (ndim > 0)];
      if (step == kHalf || length == 1) {
        widen(storage, from, to, length);
      } else if (step == 0) {
        float value;
        widen(storage, from, &value, 1);
        std::fill_n(to, length, value);
      } else {
        side_by_side(from, step, length,
                     [&](const std::uint16_t* halves, std::size_t done, std::size_t some) {
                       widen(storage, halves, to + done, some);
                     });
      }
      to += length;
    });
  }

  void scatter_halves(const float* from, void* base, std::size_t first, std::size_t n) const {
    char* bytes = static_cast<char*>(base);
    for_runs(first, n, [&](std::ptrdiff_t offset, std::size_t length) {
      char* to = bytes + offset;
      const std::ptrdiff_t step = strides[ndim - (ndim > 0)];
      if (step == kHalf || length == 1) {
        narrow(storage, from, to, length);
      } else {
        std::uint16_t side_by_side[kHalvesAtOnce];
        for (std::size_t done = 0; done < length; done += kHalvesAtOnce) {
          const std::size_t some = std::min(kHalvesAtOnce, length - done);
          narrow(storage, from + done, side_by_side, some);
          for (std::size_t i = 0; i < some; ++i, to += step) std::memcpy(to, side_by_side + i, kHalf);
        }
      }
      from += length;
    });
  }
};

// K arrays of one shape on one walk. Dimensions of length 1 go, and neighbours that are one run in every
// array merge. Order::kAny walks along the first array's memory; Order::kC keeps positions equal to C-order
// indices.
enum class Order { kC, kAny };

template <std::size_t K>
std::array<Strided, K> make_walk(const Extents& shape, Order order,
                                 const std::array<OperandLayout, K>& layouts, std::size_t item) {
  std::array<std::array<std::ptrdiff_t, kMaxDims>, K> s;
  std::array<std::size_t, kMaxDims> dims;
  std::array<int, kMaxDims> axis;
  int ndim = 0;
  std::array<std::ptrdiff_t, K> dense;
  dense.fill(static_cast<std::ptrdiff_t>(item));
  // From the last dimension to the first, so that the strides of dense operands can be counted up.
  for (int i = shape.ndim - 1; i >= 0; --i) {
    const std::ptrdiff_t length = shape.dims[i];
    if (length != 1) {
      dims[ndim] = static_cast<std::size_t>(length);
      for (std::size_t k = 0; k < K; ++k) s[k][ndim] = layouts[k].strides ? layouts[k].strides[i] : dense[k];
      axis[ndim] = ndim;
      ++ndim;
    }
    for (auto& step : dense) step *= length;
  }
  if (order == Order::kAny) {  // innermost first: smallest step first
    std::stable_sort(axis.begin(), axis.begin() + ndim, [&](int a, int b) {
      for (std::size_t k = 0; k < K; ++k) {
        if (std::abs(s[k][a]) != std::abs(s[k][b])) return std::abs(s[k][a]) < std::abs(s[k][b]);
      }
      return false;
    });
  }
  std::array<Strided, K> walk;
  int merged = 0;  // dimensions kept so far, innermost first
  std::array<int, kMaxDims> kept;
  std::array<std::size_t, kMaxDims> length;
  for (int j = 0; j < ndim; ++j) {
    const int a = axis[j];
    const auto continues = [&](std::size_t k) {
      return s[k][a] == s[k][kept[merged - 1]] * static_cast<std::ptrdiff_t>(length[merged - 1]);
    };
    bool one_run = merged > 0;
    for (std::size_t k = 0; k < K && one_run; ++k) one_run = continues(k);
    if (one_run) {
      length[merged - 1] *= dims[a];
    } else {
      kept[merged] = a;
      length[merged] = dims[a];
      ++merged;
    }
  }
  for (std::size_t k = 0; k < K; ++k) {
    walk[k].ndim = merged;
    walk[k].storage = layouts[k].storage;
    walk[k].strides[0] = 0;
    for (int j = 0; j < merged; ++j) {
      walk[k].dims[merged - 1 - j] = length[j];
      walk[k].strides[merged - 1 - j] = s[k][kept[j]];
    }
  }
  return walk;
}

}  // namespace regkern

#endif  // REGKERN_CORE_STRIDED_H_
