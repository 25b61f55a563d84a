// How the normalization of rows is cut: rows, and pieces of them that the L1 cache holds.

#ifndef REGKERN_CORE_LAYER_NORM_CUT_H_
#define REGKERN_CORE_LAYER_NORM_CUT_H_

#include <algorithm>
#include <cstddef>
#include <vector>

#include "core/elementwise.h"
#include "core/streaming.h"
#include "core/threading.h"
#include "kernels/layer_norm/rows.h"
#include "regkern/layer_norm.h"

namespace regkern::layer_norm {

// A piece of a row that the L1 cache holds: some planes (of `inner` elements; a whole row of layer norm), or
// a part of one.
struct Run {
  std::size_t at, n;                   // from the start of the row; elements
  std::size_t channel, planes, piece;  // the first affine parameter of the row; which part of the plane
};

inline std::vector<Run> runs_of_row(const RowShape& s) {
  const std::size_t plane = s.inner == 1 ? s.length : s.inner;
  const std::size_t together = std::max<std::size_t>(kRowBlock / plane, 1) * plane;
  std::vector<Run> runs;
  for (std::size_t at = 0; at < s.length; at += together) {
    const std::size_t end = std::min(at + together, s.length);
    for (std::size_t first = at; first < end; first += kRowBlock) {
      const std::size_t n = std::min(kRowBlock, end - first);
      runs.push_back({first, n, first / s.inner, (n + plane - 1) / plane, (first - at) / kRowBlock});
    }
  }
  return runs;
}

// Processors with more than 1 MiB of second cache have a first one of 48 KiB, and a last one that is a slow
// mesh.
inline bool last_cache_is_slow() { return second_level_cache() > std::size_t{1} << 20; }

// Beyond the second cache, rows are fetched by hand while others are written: 0.57 in place of 0.73 ns an
// element for rows of 1024, with a fast last cache only where much lies in it.
inline bool far_away(std::size_t bytes) {
  return bytes > (last_cache_is_slow() ? second_level_cache() : std::size_t{4} << 20);
}

// Where the numbers of two bytes of an operand lie.
template <class T>
const std::uint16_t* half_data(const In<T>& operand) {
  return reinterpret_cast<const std::uint16_t*>(operand.data);
}
template <class T>
std::uint16_t* half_data(const Out<T>& operand) {
  return reinterpret_cast<std::uint16_t*>(operand.data);
}

// Of the kernels for numbers of two bytes, those that read and write all operands as they lie, where these
// are of one kind and without gaps; else nullptr.
template <class Kernels, class Operand, class... More>
const Kernels* half_kernels(const Kernels& bfloat16, const Kernels& float16, const Extents& shape,
                            const Operand& operand, const More&... more) {
  const Storage storage = operand.storage;
  if (storage == Storage::kNative || !((more.storage == storage) && ...)) return nullptr;
  const auto bits = [](const auto& o) { return In<std::uint16_t>{half_data(o), o.strides}; };
  if (!Elements(shape, Order::kC, bits(operand), bits(more)...).dense()) return nullptr;
  const Kernels& kernels = storage == Storage::kBfloat16 ? bfloat16 : float16;
  return kernels.apply == nullptr ? nullptr : &kernels;
}

// What the kernels of the gradient see of each row: the usual ones as they are. To them the others are x̂, of
// mean 0 and 1/std 1, and dx is multiplied by 1/std in the end.
template <class T>
struct RowUnits {
  RowUnits(const RowNormBackward<T>& b, const RowRange& range) : usual(range), of(b) {}

  bool is_usual(std::size_t row) const { return all_usual || usual(of.invstd[row]); }
  double mean(std::size_t row) const { return is_usual(row) ? of.mean[row] : 0; }
  double invstd(std::size_t row) const { return is_usual(row) ? of.invstd[row] : 1; }
  T x(std::size_t row, T v) const {
    return is_usual(row) ? v : static_cast<T>((static_cast<double>(v) - of.mean[row]) * of.invstd[row]);
  }
  T dx(std::size_t row, T d) const {
    return is_usual(row) ? d : static_cast<T>(static_cast<double>(d) * of.invstd[row]);
  }

  // n elements of x, in `room` unless they are usual. room may be v.
  const T* x(std::size_t row, const T* v, std::size_t n, T* room) const {
    if (is_usual(row)) return v;
    for (std::size_t i = 0; i < n; ++i) room[i] = x(row, v[i]);
    return room;
  }
  void finish(std::size_t row, T* d, std::size_t n) const {
    if (is_usual(row)) return;
    for (std::size_t i = 0; i < n; ++i) d[i] = dx(row, d[i]);
  }

  const RowRange usual;
  bool all_usual = false;  // as far as known
  const RowNormBackward<T>& of;
};

// Two sweeps over `units` that consist of `parts`: sum(unit, part) for all parts of a unit, finish(unit), and
// apply(unit, part) for all its parts, which then find it in the cache. Where the team is not served by whole
// units, the sweeps go over the parts of all of them instead. done() ends the work of a thread.
template <class Sum, class Finish, class Apply, class Done>
void two_sweeps(threading::Team team, std::size_t units, std::size_t parts, Sum&& sum, Finish&& finish,
                Apply&& apply, Done&& done) {
  const std::size_t t = team.count();
  if (parts == 1 || units % t == 0 || units >= 8 * t) {
    threading::for_ranges(team, units, 1, [&](std::size_t begin, std::size_t end) {
      for (std::size_t u = begin; u < end; ++u) {
        for (std::size_t p = 0; p < parts; ++p) sum(u, p);
        finish(u);
        for (std::size_t p = 0; p < parts; ++p) apply(u, p);
      }
      done();
    });
    return;
  }
  const auto sweep = [&](auto& body, auto& last) {
    threading::for_ranges(team, units * parts, 1, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) body(i / parts, i % parts);
      last();
    });
  };
  const auto nothing = [] {};
  sweep(sum, nothing);
  for (std::size_t u = 0; u < units; ++u) finish(u);
  sweep(apply, done);
}

}  // namespace regkern::layer_norm

#endif  // REGKERN_CORE_LAYER_NORM_CUT_H_
