// Proximal operators that look at a whole row: sorted, searched for a threshold, or followed by a string.
// Threads share the rows; a row alone is cut for its sums, its search and its result.

#include "regkern/rows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/rows.cc"
#include "hwy/foreach_target.h"

#include "core/dispatch.h"
#include "core/rows.h"
#include "kernels/rows-inl.h"
#include "kernels/rows.h"
#include "kernels/tv1d-inl.h"

#define REGKERN_FAMILY rows
#define REGKERN_KERNELS(X) \
  X(row_sum)               \
  X(row_sum_from)          \
  X(row_max)               \
  X(keep_above)            \
  X(subtract_threshold)    \
  X(limit_magnitude)       \
  X(taut_string)
#include "core/table-inl.h"

#if HWY_ONCE
namespace regkern {
namespace {

constexpr std::size_t kLanes = 16;  // of the longest vector, what keep_above may write too much

// θ = top + offset, top the largest value of a row: where that is far above the radius, one number would lose
// the difference.
struct Threshold {
  double top = 0, offset = 0;
  double value() const { return top + offset; }
  // For the kernels, as high + low.
  template <class T>
  T high() const {
    return static_cast<T>(value());
  }
  template <class T>
  T low() const {  // 0 where the first part is Inf or NaN, which then decides alone
    const auto first = high<T>();
    if (!std::isfinite(first)) return T(0);
    const auto [large, small] =
        std::abs(top) > std::abs(offset) ? std::pair(top, offset) : std::pair(offset, top);
    return static_cast<T>((large - static_cast<double>(first)) + small);
  }
};

// The largest team that keep_above makes: what room it needs may not depend on a setting that changes
// meanwhile.
constexpr std::size_t kMostKeepers = 64;

template <class T>
std::size_t all_kept(std::size_t n) {
  return n + kMostKeepers * kLanes;
}

// The passes over the values of one row, which several threads share where it is long and they have no other
// rows.
template <class T>
struct RowPasses {
  double sum(const T* x, std::size_t n) const {
    return sum_elements(
        n, [this](const T* p, std::size_t count) { return k.row_sum(values, p, count); }, In<T>{x});
  }

  T max(const T* x, std::size_t n) const {
    const threading::Team team = threading::team_for(n * sizeof(T));
    if (team.size == 1) return k.row_max(values, x, n);  // no memory to ask for
    std::vector<T> largest(team.count());
    threading::for_row_shares(team, n, [&](std::size_t begin, std::size_t end, std::size_t part) {
      largest[part] = k.row_max(values, x + begin, end - begin);
    });
    return *std::max_element(largest.begin(), largest.end());
  }

  // `kept` has room for all_kept and is not x.
  std::size_t keep_above(const T* x, std::size_t n, const Threshold& theta, T* kept) const {
    const threading::Team team = threading::team_for(n * sizeof(T)).at_most(kMostKeepers);
    const std::size_t parts = team.count();
    const T high = theta.high<T>(), low = theta.low<T>();
    if (parts == 1) return k.keep_above(values, x, n, high, low, kept);
    std::vector<std::size_t> counts(parts);
    const auto place = [=](std::size_t part) { return kept + n * part / parts + part * kLanes; };
    threading::for_row_shares(team, n, [&](std::size_t begin, std::size_t end, std::size_t part) {
      counts[part] = k.keep_above(values, x + begin, end - begin, high, low, place(part));
    });
    std::size_t total = counts[0];
    for (std::size_t part = 1; part < parts; total += counts[part++]) {
      std::memmove(kept + total, place(part), counts[part] * sizeof(T));
    }
    return total;
  }

  // θ with Σ max(v − θ, 0) = radius. Newton's method on that decreasing, convex, piecewise linear function
  // from the left: θ grows towards the solution, and what lies below it is dropped for good (Michelot 1986,
  // with the start and the filter of Condat 2016). NaN where the row has NaN or +Inf.
  Threshold threshold(const T* x, std::size_t n, double radius, double all, T* kept) const {
    const T largest = max(x, n);
    const auto top = static_cast<double>(largest);
    const bool broken = std::isnan(all) && std::any_of(x, x + n, [](T v) { return std::isnan(v); });
    if (broken || top == std::numeric_limits<double>::infinity()) return {std::nan(""), 0};
    Threshold theta{top, -radius};
    // All values together are a start, too, where the roundings of their sum are small against the radius.
    const double mean = (all - radius) / static_cast<double>(n) - top;
    if (std::isfinite(mean) && std::abs(top) < 0x1p20 * radius) theta.offset = std::max(theta.offset, mean);
    std::size_t active = keep_above(x, n, theta, kept);
    while (active != 0) {
      std::fill_n(kept + active, kLanes, largest);  // adds 0 to the sum of v − top, up to whole vectors
      const double above = sum_elements(
          (active + kLanes - 1) / kLanes * kLanes,
          [&](const T* p, std::size_t count) { return k.row_sum_from(p, count, top); }, In<T>{kept});
      theta.offset = (above - radius) / static_cast<double>(active);  // grows, but for roundings of the start
      const std::size_t left =
          k.keep_above(Values::kPlain, kept, active, theta.high<T>(), theta.low<T>(), kept);
      if (left == active) break;
      active = left;
    }
    return theta;
  }

  Values values;
  const Table<T>& k = table<T>();
};

template <class T, class Kernel>
void write_row(const T* x, T* y, std::size_t n, Kernel&& kernel) {
  threading::for_ranges(
      threading::team_for(2 * n * sizeof(T)), n, kBlock,
      [&](std::size_t begin, std::size_t end) { kernel(x + begin, y + begin, end - begin); });
}

// What is left of the values above the threshold that makes their sum the radius.
template <class T>
void subtract(const RowPasses<T>& row, const T* x, T* y, std::size_t n, const Threshold& theta, bool stream) {
  write_row(x, y, n, [&](const T* from, T* to, std::size_t count) {
    row.k.subtract_threshold(row.values, from, to, count, theta.high<T>(), theta.low<T>(), stream);
  });
}

template <class T>
void project_simplex(const T* x, T* y, std::size_t n, double radius, bool stream, T* kept) {
  const RowPasses<T> row{Values::kPlain};
  subtract(row, x, y, n, row.threshold(x, n, radius, row.sum(x, n), kept), stream);
}

template <class T>
void project_l1_ball(const T* x, T* y, std::size_t n, double radius, bool stream, T* kept) {
  const RowPasses<T> row{Values::kMagnitudes};
  const double sum = row.sum(x, n);
  subtract(row, x, y, n, sum <= radius ? Threshold() : row.threshold(x, n, radius, sum, kept), stream);
}

// What is left of x by the projection onto the dual ball (Moreau).
template <class T>
void prox_linf(const T* x, T* y, std::size_t n, double threshold, bool stream, T* kept) {
  const RowPasses<T> row{Values::kMagnitudes};
  const double sum = row.sum(x, n);
  const Threshold theta = sum <= threshold ? Threshold() : row.threshold(x, n, threshold, sum, kept);
  write_row(x, y, n, [&](const T* from, T* to, std::size_t count) {
    row.k.limit_magnitude(from, to, count, theta.high<T>(), stream);
  });
}

const double* reciprocals() {
  // Never destroyed: a daemon thread may be at work while the process ends.
  static const double* const list = [] {
    auto* inverses = new double[kReciprocals + 1]{};
    for (std::size_t m = 1; m <= kReciprocals; ++m) inverses[m] = 1 / static_cast<double>(m);
    return inverses;
  }();
  return list;
}

template <class T>
void prox_tv1d(const T* x, T* y, std::size_t n, double t, const StringRoom& room) {
  if (t == 0) {
    if (x != y) std::memcpy(y, x, n * sizeof(T));
    return;
  }
  const double mean = table<T>().row_sum(Values::kPlain, x, n) / static_cast<double>(n);
  if (!std::isfinite(mean)) {
    std::fill_n(y, n, std::numeric_limits<T>::quiet_NaN());
    return;
  }
  table<T>().taut_string(x, y, n, mean, std::min(t, std::numeric_limits<double>::max() / 8), room);
}

// Neighbours that share a value, sum / count.
struct Block {
  double sum, count;
  bool below(const Block& other) const { return sum * other.count < other.sum * count; }
  Block operator+(const Block& other) const { return {sum + other.sum, count + other.count}; }
};

// A magnitude's place in the row, and how far it lies below the largest one.
struct Ranked {
  std::uint32_t below, place;
};

// By `below`, of which `bits` are in use, ties in their order: a radix sort. Returns where the result is, a
// or b.
template <int kDigit>
Ranked* sort_ranks(Ranked* a, Ranked* b, std::size_t n, int bits) {
  constexpr std::uint32_t kMask = (1 << kDigit) - 1;
  constexpr int kDigits = (32 + kDigit - 1) / kDigit;
  std::uint32_t counts[kDigits][kMask + 1];
  const int digits = (bits + kDigit - 1) / kDigit;
  for (int digit = 0; digit < digits; ++digit) std::fill_n(counts[digit], kMask + 1, 0);
  for (std::size_t i = 0; i < n; ++i) {
    for (int digit = 0; digit < digits; ++digit) ++counts[digit][a[i].below >> digit * kDigit & kMask];
  }
  for (int digit = 0; digit < digits; ++digit) {
    std::uint32_t* const count = counts[digit];
    std::uint32_t before = 0;
    for (std::uint32_t d = 0; d <= kMask; ++d) before += std::exchange(count[d], before);
    for (std::size_t i = 0; i < n; ++i) b[count[a[i].below >> digit * kDigit & kMask]++] = a[i];
    std::swap(a, b);
  }
  return a;
}

// Bogdan et al., "SLOPE — adaptive variable selection via convex optimization" (2015), algorithm 4:
// magnitudes in descending order less their thresholds, made monotone by averaging neighbours that are not,
// cut at 0.
template <class T>
void prox_sorted_l1_row(const T* x, T* y, std::size_t n, double threshold, const T* weights, Ranked* a,
                        Ranked* b, Block* blocks) {
  using Key = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  const auto key = [](T magnitude) { return std::bit_cast<Key>(magnitude); };  // in the order of magnitudes
  const auto strength = [=](std::size_t i) {  // no threshold is too large for a weight of 0
    return weights[i] == 0 ? 0.0
                           : threshold * static_cast<double>(weights[i]) + 0.0;  // −0.0 has no place in keys
  };
  const double smallest = strength(n - 1);
  const Key largest = key(std::abs(table<T>().row_max(Values::kMagnitudes, x, n)));
  const Key least = std::min(key(static_cast<T>(smallest)), largest);
  // Few bits tell most magnitudes apart; the others are compared.
  const int wanted = n <= 4096 ? 24 : n <= (1 << 16) ? 22 : 32;
  const int width = static_cast<int>(std::bit_width(largest - least)), shift = std::max(0, width - wanted);
  std::size_t kept = 0;
  bool any_nan = std::isnan(strength(0));  // a threshold of 0, a weight of Inf
  for (std::size_t i = 0; i < n;
       ++i) {  // nothing below the smallest threshold survives, and averages stay below
    const T magnitude = std::abs(x[i]);
    any_nan |= std::isnan(magnitude);
    a[kept] = {static_cast<std::uint32_t>((largest - key(magnitude)) >> shift),
               static_cast<std::uint32_t>(i)};
    kept += static_cast<double>(magnitude) > smallest;
  }
  if (any_nan) {
    std::fill_n(y, n, std::numeric_limits<T>::quiet_NaN());
    return;
  }
  Ranked* const sorted =
      n <= 4096 ? sort_ranks<8>(a, b, kept, width - shift) : sort_ranks<11>(a, b, kept, width - shift);
  for (std::size_t i = 1; shift != 0 && i < kept; ++i) {
    if (sorted[i].below != sorted[i - 1].below) continue;
    std::size_t end = i + 1;
    while (end < kept && sorted[end].below == sorted[i].below) ++end;
    std::stable_sort(sorted + i - 1, sorted + end, [x](const Ranked& left, const Ranked& right) {
      return std::abs(x[left.place]) > std::abs(x[right.place]);
    });
    i = end;
  }
  std::size_t last = 0;
  for (std::size_t i = 0; i < kept; ++i) {
    if (i + 32 < kept) __builtin_prefetch(x + sorted[i + 32].place);
    const T value = x[sorted[i].place];
    const auto magnitude = static_cast<double>(std::abs(value));
    // Its sign, all that is still needed of x, without a branch that nothing predicts.
    sorted[i].below = std::bit_cast<std::uint32_t>(std::copysign(0.0F, static_cast<float>(value)));
    const double t = strength(i);
    Block block{std::isinf(t) ? -t : magnitude - t, 1};
    while (last != 0 && !block.below(blocks[last - 1])) block = blocks[--last] + block;
    blocks[last++] = block;
  }
  std::fill_n(y, n, T(0));
  std::size_t i = 0;
  for (std::size_t k = 0; k < last && blocks[k].sum > 0; ++k) {
    const T value = static_cast<T>(blocks[k].sum / blocks[k].count);
    for (const std::size_t end = i + static_cast<std::size_t>(blocks[k].count); i < end; ++i) {
      if (i + 32 < kept) __builtin_prefetch(y + sorted[i + 32].place, 1);
      y[sorted[i].place] = std::copysign(value, static_cast<T>(std::bit_cast<float>(sorted[i].below))) + T(0);
    }
  }
}

}  // namespace

template <class T>
void row_prox(RowProx what, const Extents& shape, std::size_t length, In<T> x, Out<T> y, double parameter) {
  if (what == RowProx::kTv1d) {
    const std::size_t blocks = length + 1, hulls = 2 * blocks * sizeof(HullBlock);
    const std::size_t copy = length * (length <= kWidened ? sizeof(double) : sizeof(T));
    const double* const inverses = reciprocals();
    for_rows(shape, length, x, y, 8, hulls + copy,
             [=](const T* from, T* to, std::size_t, std::size_t rows, bool, std::byte* scratch) {
               auto* const upper = reinterpret_cast<HullBlock*>(scratch);
               const StringRoom room{reinterpret_cast<double*>(scratch), upper, upper + blocks,
                                     reinterpret_cast<double*>(upper + 2 * blocks), inverses};
               for (std::size_t at = 0; at < rows * length; at += length) {
                 prox_tv1d(from + at, to + at, length, parameter, room);
               }
             });
    return;
  }
  const auto project = what == RowProx::kSimplex  ? &project_simplex<T>
                       : what == RowProx::kL1Ball ? &project_l1_ball<T>
                                                  : &prox_linf<T>;
  for_rows(shape, length, x, y, 2, all_kept<T>(length) * sizeof(T),
           [=](const T* from, T* to, std::size_t, std::size_t rows, bool stream, std::byte* scratch) {
             for (std::size_t at = 0; at < rows * length; at += length) {
               project(from + at, to + at, length, parameter, stream, reinterpret_cast<T*>(scratch));
             }
           });
}

template <class T>
void prox_sorted_l1(const Extents& shape, std::size_t length, In<T> x, Out<T> y, double threshold,
                    const T* weights) {
  const std::size_t room = (length + 1) * (2 * sizeof(Ranked) + sizeof(Block));
  for_rows(shape, length, x, y, 8, room,
           [=](const T* from, T* to, std::size_t, std::size_t rows, bool, std::byte* scratch) {
             Block* const blocks = reinterpret_cast<Block*>(scratch);
             auto* const a = reinterpret_cast<Ranked*>(blocks + length + 1);
             for (std::size_t at = 0; at < rows * length; at += length) {
               prox_sorted_l1_row(from + at, to + at, length, threshold, weights, a, a + length + 1, blocks);
             }
           });
}

#define REGKERN_INSTANTIATE(T)                                                         \
  template void row_prox(RowProx, const Extents&, std::size_t, In<T>, Out<T>, double); \
  template void prox_sorted_l1(const Extents&, std::size_t, In<T>, Out<T>, double, const T*);
REGKERN_INSTANTIATE(float)
REGKERN_INSTANTIATE(double)
#undef REGKERN_INSTANTIATE

}  // namespace regkern
#endif  // HWY_ONCE
