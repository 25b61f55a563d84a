// The elements that a kernel reads and writes: of its own dtype, or numbers of two bytes, which it widens to
// float in registers, and rounds once where it writes them.

#if defined(REGKERN_KERNELS_ELEMENTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_ELEMENTS_INL_H_
#undef REGKERN_KERNELS_ELEMENTS_INL_H_
#else
#define REGKERN_KERNELS_ELEMENTS_INL_H_
#endif

#include <type_traits>

#include "kernels/half-inl.h"
#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

// A kernel's parameter E says what its elements are: float, double, or one of the formats of half-inl.h.
// Element<E> is what lies in memory, Wide<E> what the kernel calculates with.
template <class E>
constexpr bool kIsHalf = !std::is_arithmetic_v<E>;
template <class E>
using Element = std::conditional_t<kIsHalf<E>, uint16_t, E>;
template <class E>
using Wide = std::conditional_t<kIsHalf<E>, float, E>;

// D's lanes of Wide<E>, from the elements at p on.
template <class E, class D>
HWY_INLINE V<D> load_wide(D d, const Element<E>* p) {
  if constexpr (kIsHalf<E> && std::is_same_v<D, half::DF>) {
    return E::load(p);
  } else if constexpr (kIsHalf<E>) {
    return E::widen(d, hn::LoadU(half::Bits<D>(), p));
  } else {
    return hn::LoadU(d, p);
  }
}
template <class E, class D>
HWY_INLINE V<D> load_wide_partial(D d, const Element<E>* p, size_t n) {
  if constexpr (kIsHalf<E>) {
    return E::widen(d, load_partial(half::Bits<D>(), p, n));
  } else {
    return load_partial(d, p, n);
  }
}
// And back.
template <class E, class D>
HWY_INLINE void store_wide(V<D> v, D d, Element<E>* p) {
  if constexpr (kIsHalf<E>) {
    hn::StoreU(E::round(v), half::DH(), p);
  } else {
    hn::StoreU(v, d, p);
  }
}
template <class E, class D>
HWY_INLINE void store_wide_partial(V<D> v, D d, Element<E>* p, size_t n) {
  if constexpr (kIsHalf<E>) {
    store_partial(E::round(v), half::DH(), p, n);
  } else {
    store_partial(v, d, p, n);
  }
}

// As double: one element, or a vector of them.
template <class E>
HWY_INLINE double one_double(const Element<E>* p) {
  if constexpr (kIsHalf<E>) {
    return static_cast<double>(hn::GetLane(load_wide<E>(hn::CappedTag<float, 1>(), p)));
  } else {
    return static_cast<double>(*p);
  }
}
template <class E>
HWY_INLINE V<D64> load_double(const Element<E>* p) {
  if constexpr (kIsHalf<E>) {
    return hn::PromoteTo(D64(), load_wide<E>(hn::Rebind<float, D64>(), p));
  } else {
    return load_double(D64(), p);
  }
}

// n elements, a multiple of kSumLanes, in the kernel's dtype: where they lie, or in `room`. From memory they
// become double while they are loaded; in a register, the upper half of each vector had to be moved first.
template <class E>
HWY_INLINE const Wide<E>* widened(const Element<E>* p, size_t n, Wide<E>* room) {
  if constexpr (kIsHalf<E>) {
    const Tag<float> d;
    for (size_t i = 0; i < n; i += hn::MaxLanes(d)) hn::Store(load_wide<E>(d, p + i), d, room + i);
    return room;
  } else {
    return p;
  }
}

// The same in an order that is faster to make: vector k of each kSumLanes lies at place_of<E>(k). On AVX2,
// one instruction puts zeros below eight numbers of bfloat16, where widening them in order takes two, on
// ports that sums in double need; but it takes them from both halves of a register.
template <class E>
constexpr bool kUnpacks = HWY_TARGET == HWY_AVX2 && std::is_same_v<E, half::Bfloat16>;
template <class E>
constexpr size_t place_of(size_t k) {
  return (kUnpacks<E> && (k == 1 || k == 2) ? 3 - k : k) * hn::MaxLanes(D64());
}
template <class E>
HWY_INLINE const Wide<E>* unpacked(const Element<E>* p, size_t n, Wide<E>* room) {
  if constexpr (kUnpacks<E>) {
    const half::D16 d16;
    const Tag<float> d;
    for (size_t i = 0; i < n; i += kSumLanes) {
      const auto bits = hn::LoadU(d16, p + i);
      hn::Store(hn::BitCast(d, hn::InterleaveLower(d16, hn::Zero(d16), bits)), d, room + i);
      hn::Store(hn::BitCast(d, hn::InterleaveUpper(d16, hn::Zero(d16), bits)), d, room + i + kSumLanes / 2);
    }
    return room;
  } else {
    return widened<E>(p, n, room);
  }
}

// The first n < kSumLanes elements of a row; the others stay as they are.
template <class E>
HWY_INLINE void copy_row(const Element<E>* p, size_t n, Wide<E> (&row)[kSumLanes]) {
  Element<E> some[kSumLanes] = {};
  HWY_ALIGN Wide<E> room[kSumLanes];
  memcpy(some, p, n * sizeof(Element<E>));
  memcpy(row, widened<E>(some, kSumLanes, room), n * sizeof(Wide<E>));
}

// Two vectors of float at once: as many numbers as a vector of two bytes each has lanes, in an order that is
// E's own.
struct Two {
  V<Tag<float>> first, second;
};
constexpr size_t kTwoLanes = 2 * hn::MaxLanes(Tag<float>());

template <class E>
HWY_INLINE Two load_two(const uint16_t* p) {
  Two v;
  E::load_two(p, v.first, v.second);
  return v;
}
template <class E>
HWY_INLINE V<half::D16> round_two(Two v) {
  return E::round_two(v.first, v.second);
}

// Vector k, 0 or 1, of two neighbours: of the dtype as they lie; of numbers of two bytes in the order of
// load_two().
template <class E, size_t k>
HWY_INLINE V<Tag<Wide<E>>> load_of_two(const Element<E>* p) {
  if constexpr (!kIsHalf<E>) {
    return hn::LoadU(Tag<E>(), p + k * hn::MaxLanes(Tag<E>()));
  } else if constexpr (k == 0) {
    return load_two<E>(p).first;
  } else {
    return load_two<E>(p).second;
  }
}
// Its lanes that hold some of the first n elements, which may be more than it has.
template <class E, size_t k>
HWY_INLINE hn::Mask<Tag<Wide<E>>> first_of_two(size_t n) {
  const Tag<Wide<E>> d;
  size_t lanes;
  if constexpr (!kIsHalf<E>) {
    lanes = n > k * hn::MaxLanes(d) ? n - k * hn::MaxLanes(d) : 0;
  } else if constexpr (k == 0) {
    lanes = E::lanes_of_first(n);
  } else {
    lanes = E::lanes_of_second(n);
  }
  return hn::FirstN(d, HWY_MIN(lanes, hn::MaxLanes(d)));
}

// An operation for each.
template <class Op>
struct OnTwo {
  Op first, second;
  template <class... In>
  HWY_INLINE Two operator()(In... x) const {
    return {first(x.first...), second(x.second...)};
  }
};

// map_unfenced() for numbers of two bytes.
template <class E, class Op, class... In>
HWY_INLINE void map_halves(size_t n, bool stream, OnTwo<Op> op, uint16_t* y, const In*... x) {
  constexpr size_t N = kTwoLanes, kLine = 64 / sizeof(*y);
  const half::D16 d;
  const bool in_place = ((x == y) || ...);
  size_t i = 0;
  const auto result = [&](const In*... from) HWY_ATTR { return round_two<E>(op(load_two<E>(from)...)); };
  const auto partly = [&](size_t count) HWY_ATTR {
    if (count == 0) return;
    HWY_ALIGN uint16_t some[N];
    const auto padded = [&](const uint16_t* from) HWY_ATTR {
      memset(some, 0, sizeof(some));
      memcpy(some, from, count * sizeof(*y));
      return load_two<E>(some);
    };
    const auto v = round_two<E>(op(padded(x + i)...));
    hn::Store(v, d, some);
    memcpy(y + i, some, count * sizeof(*y));
    i += count;
  };
  const auto plain = [&](size_t end) HWY_ATTR {
    for (; i + N <= end; i += N) hn::StoreU(result((x + i)...), d, y + i);
  };
  if (n < N) return partly(n);
  if (stream && !in_place) {
    const auto until = [&](size_t end) HWY_ATTR {
      plain(end);
      partly(end - i);
    };
    until(HWY_MIN(n, (kLine - reinterpret_cast<uintptr_t>(y) % 64 / sizeof(*y)) % kLine));
    for (; i + kLine <= n; i += kLine) {
      (hwy::Prefetch(x + i + kAhead<In>), ...);
      for (size_t k = i; k < i + kLine; k += N) hn::Stream(result((x + k)...), d, y + k);
    }
    return until(n);
  }
  const size_t past = reinterpret_cast<uintptr_t>(y) % (N * sizeof(*y)) / sizeof(*y);
  if (past != 0 && n >= 4 * N) {
    if (in_place) {
      partly(N - past);
    } else {
      hn::StoreU(result(x...), d, y);
      i = N - past;
    }
  }
  plain(n);
  if (i == n) return;
  if (in_place) {
    partly(n - i);
  } else {
    hn::StoreU(result((x + (n - N))...), d, y + (n - N));
  }
}

// What a step over many elements takes: a vector of the dtype; of numbers of two bytes, all that a register
// holds, with an operation for each half of it. Operations are made where they stay: GCC copies one in halves
// of its vectors, through memory, and each vector then waits for both.
template <class E>
struct Step {
  using D = Tag<E>;
  using Result = V<D>;
  static constexpr size_t kLanes = hn::MaxLanes(D());
  template <class OpOf>
  static HWY_INLINE auto op(const OpOf& op_of, size_t row) {
    return op_of(row);
  }
  template <class Op, class... In>
  static HWY_INLINE Result calculate(const Op& op, const In*... x) {
    return op(hn::LoadU(D(), x)...);
  }
  static HWY_INLINE void put(Result v, E* to) { hn::StoreU(v, D(), to); }
};
template <class E>
  requires kIsHalf<E>
struct Step<E> {
  using D = half::D16;
  using Result = V<D>;
  static constexpr size_t kLanes = kTwoLanes;
  template <class OpOf>
  static HWY_INLINE auto op(const OpOf& op_of, size_t row) {
    return OnTwo<decltype(op_of(row))>{op_of(row), op_of(row)};
  }
  template <class Op, class... In>
  static HWY_INLINE Result calculate(const Op& op, const In*... x) {
    return round_two<E>(op(load_two<E>(x)...));
  }
  static HWY_INLINE void put(Result v, uint16_t* to) { hn::StoreU(v, D(), to); }
};

// y = op_of(r)(x...) for the elements of each row r, where rows of a step and more lie without gaps: as one
// run, in which a vector across the end of a row is calculated for both. Of rows of 49 that is six vectors
// and a half in place of eight, and none of them lies across two lines of y, which are fetched ahead.
template <class E, class OpOf, class... In>
HWY_INLINE void map_joined_rows(size_t rows, size_t cols, OpOf op_of, Element<E>* y, const In*... x) {
  constexpr size_t N = Step<E>::kLanes;
  const size_t n = rows * cols;
  size_t i = 0;
  const auto put = [&](auto v) HWY_ATTR {
    Step<E>::put(v, y + i);
    i += N;
  };
  const auto partly = [&](size_t count, size_t row) HWY_ATTR {
    const Tag<Wide<E>> d;
    for (size_t some; count != 0; count -= some, i += some) {
      some = HWY_MIN(count, hn::MaxLanes(d));
      store_wide_partial<E>(op_of(row)(load_wide_partial<E>(d, x + i, some)...), d, y + i, some);
    }
  };
  // Whole vectors that lie across lines are better than one a row that is calculated twice, where that is
  // much.
  const bool anyhow = cols % N == 0 && (sizeof...(In) > 1 || cols <= 2 * N);
  const size_t past = anyhow ? 0 : reinterpret_cast<uintptr_t>(y) % (N * sizeof(*y)) / sizeof(*y);
  if (past != 0) partly(N - past, 0);
  for (size_t row = 0, end = cols; i + N <= n; end += cols) {
    const auto op = Step<E>::op(op_of, row);
    while (i + 2 * N <= end) {
      fetch_to_write(y + i + kWriteAhead<Element<E>>);
      put(Step<E>::calculate(op, x + i...));
      put(Step<E>::calculate(op, x + i...));
    }
    if (i + N <= end) put(Step<E>::calculate(op, x + i...));
    ++row;
    if (i < end && i + N <= n) {
      const auto before = hn::FirstN(typename Step<E>::D(), end - i);
      const auto next = Step<E>::op(op_of, row);
      put(hn::IfThenElse(before, Step<E>::calculate(op, x + i...), Step<E>::calculate(next, x + i...)));
    }
  }
  partly(n - i, rows - 1);
}

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_ELEMENTS_INL_H_
