#include "regkern/layer_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/layer_norm.cc"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "core/dispatch.h"
#include "core/elementwise.h"
#include "core/moments.h"
#include "kernels/layer_norm-inl.h"

#ifndef REGKERN_LAYER_NORM_TABLE
#define REGKERN_LAYER_NORM_TABLE
namespace regkern {
template <class T>
struct LayerNormTable {
  void (*block_moments)(const T* x, std::size_t n, bool fetch, bool centred, double eps, double* mean,
                        double* squares);
  void (*row_apply)(const T* x, T* y, std::size_t n, const RowAffine<T>& s, std::size_t channel, double mean,
                    double invstd, std::size_t ahead);
  void (*normalize_rows)(const T* x, T* y, std::size_t rows, const RowAffine<T>& s, std::size_t channel,
                         double* mean, double* invstd);
  void (*add)(const T* x, const T* residual, T* y, std::size_t n);
  GradientSums (*row_gradient_sums)(const T* x, const T* dy, const T* gamma, std::size_t n, double mean);
  void (*plane_gradient_sums)(const T* x, const T* dy, std::size_t planes, std::size_t n, double mean,
                              GradientSums* sums);
  void (*gradient_run)(const T* x, const T* dy, T* dx, std::size_t n, const RowAffine<T>& s, const T* gamma,
                       double mean, double invstd, const GradientSums& g, T* dgamma, T* dbeta);
  void (*gradient_rows)(const T* x, const T* dy, T* dx, std::size_t rows, const RowAffine<T>& s,
                        std::size_t channel, const double* mean, const double* invstd, T* dgamma, T* dbeta);
  void (*gradient_planes)(const T* x, const T* dy, T* dx, std::size_t planes, std::size_t n,
                          const RowAffine<T>& s, std::size_t channel, double mean, double invstd,
                          const GradientSums& g);
  void (*column_moments)(const T* x, std::size_t n, std::size_t width, const T* shift, T* sum, T* squares);
  void (*column_apply)(const T* x, T* y, std::size_t n, std::size_t width, const ColumnAffine<T>& c);
  void (*column_gradient_sums)(const T* x, const T* dy, std::size_t n, std::size_t width, const T* mean,
                               T* sum, T* sum_dev);
  void (*column_gradient)(const T* x, const T* dy, T* dx, std::size_t n, std::size_t width,
                          const ColumnGradient<T>& c);
  void (*flush)(double* total, T* part, std::size_t n, bool first);
  void (*finish_stream)(bool stream);
};
}  // namespace regkern
#endif

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

template <class T>
constexpr LayerNormTable<T> kLayerNormTable = {
    &block_moments<T>,     &row_apply<T>,           &normalize_rows<T>, &row_add<T>,
    &row_gradient_sums<T>, &plane_gradient_sums<T>, &gradient_run<T>,   &gradient_rows<T>,
    &gradient_planes<T>,   &column_moments<T>,      &column_apply<T>,   &column_gradient_sums<T>,
    &column_gradient<T>,   &row_flush<T>,           finish_stream};

const LayerNormTable<float>& layer_norm_table_f32() { return kLayerNormTable<float>; }
const LayerNormTable<double>& layer_norm_table_f64() { return kLayerNormTable<double>; }

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regkern {

REGKERN_EXPORT_TABLES(LayerNormTable, layer_norm_table);

namespace {

// --- how the work is cut ---------------------------------------------------------------------------------

// A piece of a row that the L1 cache holds: some planes (of `inner` elements; a whole row of layer norm), or
// a part of one.
struct Run {
  std::size_t at, n;                   // from the start of the row; elements
  std::size_t channel, planes, piece;  // the first affine parameter of the row; which part of the plane
};

std::vector<Run> runs_of_row(const RowShape& s) {
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
bool last_cache_is_slow() { return second_level_cache() > std::size_t{1} << 20; }

// Beyond the second cache, rows are fetched by hand while others are written: 0.57 in place of 0.73 ns an
// element for rows of 1024, with a fast last cache only where much lies in it.
bool far_away(const RowShape& s, std::size_t bytes) {
  if (s.inner > 1) bytes /= 8;  // planes are long; with less there is nothing to gain
  return bytes > (last_cache_is_slow() ? second_level_cache() : std::size_t{4} << 20);
}

// How many short rows are summed before they are written: as far as the first cache holds both, or few, so
// that fetching and writing are mixed.
template <class T>
std::size_t rows_in_sweep(const RowShape& s, bool far) {
  const std::size_t bytes = far ? 4096 : last_cache_is_slow() ? 16384 : 8192;
  return std::max<std::size_t>(bytes / (s.length * sizeof(T)), 1);
}

// How many rows of a gradient share a sweep, and with it the loads and stores of the sums of gamma and beta,
// where they are not swept one by one by hand. Four, but rows of whole half pages would share sets of a first
// cache of 32 KiB.
template <class T>
std::size_t rows_together(const RowShape& s) {
  if (s.channels != s.length) return 1;
  return s.length * sizeof(T) % 2048 == 0 ? 2 : 4;
}

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

// --- rows ------------------------------------------------------------------------------------------------

template <class T>
void normalize_in_rows(const RowShape& s, bool centred, In<T> x, In<T> residual, Out<T> h, Out<T> y,
                       const T* gamma, const T* beta, double eps, double* mean, double* invstd) {
  const auto& k = table<T>();
  const bool summed = residual.data != nullptr;
  const Elements<In<T>, In<T>, Out<T>, Out<T>> elements(s.shape, Order::kC, x, summed ? residual : x,
                                                        summed ? h : y, y);
  const std::size_t bytes = (summed ? 4 : 2) * s.shape.size * sizeof(T);
  const threading::Team team = threading::team_for(bytes);
  const bool stream = worth_streaming(bytes) && x.data != y.data && elements.dense() &&
                      (s.inner == 1 ? s.length : s.inner) >= 256;
  const bool far = far_away(s, bytes) && elements.dense() && !summed;
  const RowAffine<T> affine{centred,    stream, far,  last_cache_is_slow(),    eps, s.length, s.inner,
                            s.channels, gamma,  beta, rows_in_sweep<T>(s, far)};
  // What is normalized of `n` elements from `first` on: the sum with the residual, which is written, or x.
  const auto summand = [&](std::size_t first, std::size_t n, T* in) {
    const T* p = elements.template load<0>(first, n, in);
    if (!summed) return p;
    alignas(64) T beside[kRowBlock], out[kRowBlock];
    T* to = elements.template target<2>(first, out);
    k.add(p, elements.template load<1>(first, n, beside), to, n);
    elements.template store<2>(first, n, to);
    if (to == out) std::copy_n(out, n, in);
    return to == out ? static_cast<const T*>(in) : to;
  };
  if (s.length <= kRowBlock) {
    const std::size_t batch = kRowBlock / s.length;
    threading::for_ranges(team, s.rows, batch, [&](std::size_t begin, std::size_t end) {
      alignas(64) T in[kRowBlock], out[kRowBlock];
      const std::size_t step = elements.dense() && !summed ? end - begin : batch;
      for (std::size_t row = begin; row < end; row += step) {
        const std::size_t rows = std::min(step, end - row), first = row * s.length;
        const T* p = summand(first, rows * s.length, in);
        T* to = elements.template target<3>(first, out);
        k.normalize_rows(p, to, rows, affine, s.first_channel(row), mean + row, invstd + row);
        elements.template store<3>(first, rows * s.length, to);
      }
      k.finish_stream(stream);
    });
    return;
  }
  const std::vector<Run> runs = runs_of_row(s);
  std::vector<Moments> parts(s.rows * runs.size());
  two_sweeps(
      team, s.rows, runs.size(),
      [&](std::size_t row, std::size_t i) {
        alignas(64) T in[kRowBlock];
        const Run& run = runs[i];
        Moments& part = parts[row * runs.size() + i];
        part.n = static_cast<double>(run.n);
        k.block_moments(summand(row * s.length + run.at, run.n, in), run.n, affine.by_hand, centred, eps,
                        &part.mean, &part.m2);
      },
      [&](std::size_t row) {
        Moments all;
        for (std::size_t i = 0; i < runs.size(); ++i) all.merge(parts[row * runs.size() + i]);
        mean[row] = all.mean;
        invstd[row] = 1 / std::sqrt(all.m2 / static_cast<double>(s.length) + eps);
      },
      [&](std::size_t row, std::size_t i) {
        alignas(64) T in[kRowBlock], out[kRowBlock];
        const Run& run = runs[i];
        const std::size_t first = row * s.length + run.at;
        const T* p = summed ? elements.template load<2>(first, run.n, in)
                            : elements.template load<0>(first, run.n, in);
        T* to = elements.template target<3>(first, out);
        k.row_apply(p, to, run.n, affine, s.first_channel(row) + run.channel, mean[row], invstd[row], 0);
        elements.template store<3>(first, run.n, to);
      },
      [&] { k.finish_stream(stream); });
}

// The gradients of gamma and beta of some rows, zeros at first, and a copy of gamma, ones for nullptr, where
// their vectors are aligned as those of the rows from `row` on: a store across two lines is dear. Other lines
// of other pages, lest the loads of one wait for the stores of another.
template <class T>
class ParameterRows {
 public:
  ParameterRows(std::size_t n, const T* row, const T* gamma)
      : stride_((n + kLine - 1) / kLine * kLine + 2 * kLine) {
    memory_.resize(3 * stride_ + 2 * kLine);
    const auto line_of = [](const T* p) { return reinterpret_cast<std::uintptr_t>(p) / sizeof(T) % kLine; };
    first_ = memory_.data() + (line_of(row) + kLine - line_of(memory_.data())) % kLine;
    if (gamma != nullptr) {
      std::copy_n(gamma, n, first_ + 2 * stride_);
    } else {
      std::fill_n(first_ + 2 * stride_, n, T(1));
    }
  }

  T* dgamma() const { return first_; }
  T* dbeta() const { return first_ + stride_; }
  const T* gamma() const { return first_ + 2 * stride_; }

 private:
  static constexpr std::size_t kLine = 64 / sizeof(T);
  std::size_t stride_;
  std::vector<T> memory_;
  T* first_;
};

// Every element of a row has its own affine parameters. A grid of the shape alone: some groups of rows, each
// with sums of its own. Inside one the gradients of gamma and beta of some rows are added in the dtype before
// they go to double.
template <class T>
void gradient_in_rows(const RowShape& s, bool centred, In<T> dy, In<T> x, Out<T> dx, const T* gamma,
                      const double* mean, const double* invstd, double* dgamma, double* dbeta) {
  const auto& k = table<T>();
  const Elements<In<T>, In<T>, Out<T>> elements(s.shape, Order::kC, dy, x, dx);
  const std::size_t bytes = 3 * s.shape.size * sizeof(T);
  const threading::Team team = threading::team_for(bytes);
  const bool stream = worth_streaming(bytes) && elements.dense() && s.length * sizeof(T) % 64 == 0 &&
                      dx.data != dy.data && s.length >= 64;
  const bool far = far_away(s, bytes);
  const RowAffine<T> affine{centred,    stream, far,     last_cache_is_slow(), 0, s.length, 1,
                            s.channels, gamma,  nullptr, rows_together<T>(s)};
  constexpr std::size_t kFlush = 32, kGroups = 32;
  const std::size_t cycle = s.channels / s.length;  // rows until the affine parameters come again
  const std::size_t cycles = s.rows / cycle;
  // Fewer rows would not be worth the sums; a few rows make two groups, so that two threads have work.
  const std::size_t worth = std::clamp<std::size_t>((cycles / 2 + 3) / 4 * 4, 8, kFlush);
  const std::size_t group_cycles =
      std::max({(cycles + kGroups - 1) / kGroups, worth, 2 * kRowBlock / s.channels});
  const std::size_t groups = (cycles + group_cycles - 1) / group_cycles;
  // Of gamma and of beta, group by group; those of the only group lie where they belong at once.
  const auto memory = std::make_unique_for_overwrite<double[]>(groups == 1 ? 0 : 2 * groups * s.channels);
  const auto sums_of = [&](std::size_t group) {
    double* const first = memory.get() + 2 * group * s.channels;
    return groups == 1 ? std::pair(dgamma, dbeta) : std::pair(first, first + s.channels);
  };
  if (s.length <= kRowBlock) {
    threading::for_ranges(team, groups, 1, [&](std::size_t begin, std::size_t end) {
      // Four rows at a time go through the kernel together.
      const std::size_t batch = elements.dense() ? kFlush * cycle : kRowBlock / s.length * 4;
      const ParameterRows<T> part(s.channels, dx.data, gamma);
      RowAffine<T> parameters = affine;
      parameters.gamma = part.gamma();
      const std::size_t size = elements.dense() ? 0 : batch * s.length;
      std::vector<T> room(3 * size);
      T *const dy_room = room.data(), *const x_room = dy_room + size, *const dx_room = x_room + size;
      for (std::size_t group = begin; group < end; ++group) {
        const std::size_t last = std::min(cycles, (group + 1) * group_cycles) * cycle;
        const auto [total_gamma, total_beta] = sums_of(group);
        const std::size_t begin_of_group = group * group_cycles * cycle;
        for (std::size_t row = begin_of_group; row < last;) {
          const std::size_t flush = std::min(last, row + kFlush * cycle);
          const bool first_flush = row == begin_of_group;
          for (; row < flush; row += std::min(batch, flush - row)) {
            const std::size_t rows = std::min(batch, flush - row), first = row * s.length,
                              n = rows * s.length;
            const T* g = elements.template load<0>(first, n, dy_room);
            const T* v = elements.template load<1>(first, n, x_room);
            T* to = elements.template target<2>(first, dx_room);
            k.gradient_rows(v, g, to, rows, parameters, s.first_channel(row), mean + row, invstd + row,
                            part.dgamma(), part.dbeta());
            elements.template store<2>(first, n, to);
          }
          k.flush(total_gamma, part.dgamma(), s.channels, first_flush);
          k.flush(total_beta, part.dbeta(), s.channels, first_flush);
        }
      }
      k.finish_stream(stream);
    });
  } else {
    const std::vector<Run> runs = runs_of_row(s);
    std::vector<GradientSums> parts(s.rows * runs.size());
    std::vector<T> part(2 * groups * s.channels);
    const std::vector<T> ones(gamma ? 0 : kRowBlock, T(1));
    const auto gamma_of = [&](std::size_t channel) { return gamma ? gamma + channel : ones.data(); };
    const auto sum = [&](std::size_t row, std::size_t i) {
      alignas(64) T dy_block[kRowBlock], x_block[kRowBlock];
      const Run& run = runs[i];
      const std::size_t first = row * s.length + run.at;
      parts[row * runs.size() + i] = k.row_gradient_sums(
          elements.template load<1>(first, run.n, x_block), elements.template load<0>(first, run.n, dy_block),
          gamma_of(s.first_channel(row) + run.channel), run.n, mean[row]);
    };
    const auto apply = [&](std::size_t row, std::size_t i) {
      alignas(64) T dy_block[kRowBlock], x_block[kRowBlock], out[kRowBlock];
      const Run& run = runs[i];
      const std::size_t first = row * s.length + run.at, channel = s.first_channel(row) + run.channel;
      GradientSums all;
      for (std::size_t p = 0; p < runs.size(); ++p) all += parts[row * runs.size() + p];
      const T* g = elements.template load<0>(first, run.n, dy_block);
      const T* v = elements.template load<1>(first, run.n, x_block);
      T* to = elements.template target<2>(first, out);
      const std::size_t cycle_of_row = row / cycle, group = cycle_of_row / group_cycles;
      const std::size_t at_gamma = 2 * group * s.channels + channel, at_beta = at_gamma + s.channels;
      const auto [total_gamma, total_beta] = sums_of(group);
      k.gradient_run(v, g, to, run.n, affine, gamma_of(channel), mean[row], invstd[row], all, &part[at_gamma],
                     &part[at_beta]);
      elements.template store<2>(first, run.n, to);
      const std::size_t done = cycle_of_row % group_cycles + 1;
      if (done % kFlush == 0 || done == group_cycles || cycle_of_row + 1 == cycles) {
        k.flush(total_gamma + channel, &part[at_gamma], run.n, done <= kFlush);
        k.flush(total_beta + channel, &part[at_beta], run.n, done <= kFlush);
      }
    };
    if (groups >= team.count()) {
      threading::for_ranges(team, groups, 1, [&](std::size_t begin, std::size_t end) {
        const std::size_t last = std::min(cycles, end * group_cycles) * cycle;
        for (std::size_t row = begin * group_cycles * cycle; row < last; ++row) {
          for (std::size_t i = 0; i < runs.size(); ++i) sum(row, i);
          for (std::size_t i = 0; i < runs.size(); ++i) apply(row, i);
        }
        k.finish_stream(stream);
      });
    } else {  // few rows: columns go to different threads
      threading::for_ranges(team, parts.size(), 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t p = begin; p < end; ++p) sum(p / runs.size(), p % runs.size());
      });
      threading::for_ranges(team, runs.size(), 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t row = 0; row < s.rows; ++row) {
          for (std::size_t i = begin; i < end; ++i) apply(row, i);
        }
        k.finish_stream(stream);
      });
    }
  }
  if (groups == 1) return;
  std::copy_n(sums_of(0).first, s.channels, dgamma);
  std::copy_n(sums_of(0).second, s.channels, dbeta);
  for (std::size_t group = 1; group < groups; ++group) {
    const auto [of_gamma, of_beta] = sums_of(group);
    for (std::size_t c = 0; c < s.channels; ++c) dgamma[c] += of_gamma[c];
    for (std::size_t c = 0; c < s.channels; ++c) dbeta[c] += of_beta[c];
  }
}

// Every channel is a plane of `inner` elements with its own affine parameters.
template <class T>
void gradient_in_planes(const RowShape& s, In<T> dy, In<T> x, Out<T> dx, const T* gamma, const double* mean,
                        const double* invstd, double* dgamma, double* dbeta) {
  const auto& k = table<T>();
  const Elements<In<T>, In<T>, Out<T>> elements(s.shape, Order::kC, dy, x, dx);
  const std::size_t bytes = 3 * s.shape.size * sizeof(T);
  const bool stream = worth_streaming(bytes) && elements.dense() && s.inner >= 256;
  const RowAffine<T> affine{true,
                            stream,
                            far_away(s, bytes) && elements.dense(),
                            last_cache_is_slow(),
                            0,
                            s.length,
                            s.inner,
                            s.channels,
                            gamma,
                            nullptr};
  const std::vector<Run> runs = runs_of_row(s);
  const std::size_t planes = s.row_channels, pieces = (s.inner + kRowBlock - 1) / kRowBlock;
  std::vector<GradientSums> parts(s.rows * planes * pieces), of_row(s.rows);
  two_sweeps(
      threading::team_for(bytes), s.rows, runs.size(),
      [&](std::size_t row, std::size_t i) {
        alignas(64) T dy_block[kRowBlock], x_block[kRowBlock];
        const Run& run = runs[i];
        const std::size_t first = row * s.length + run.at;
        k.plane_gradient_sums(elements.template load<1>(first, run.n, x_block),
                              elements.template load<0>(first, run.n, dy_block), run.planes,
                              std::min(run.n, s.inner), mean[row],
                              &parts[(row * planes + run.channel) * pieces + run.piece]);
      },
      [&](std::size_t row) {
        GradientSums all;
        GradientSums* const part = &parts[row * planes * pieces];
        const T* const gammas = gamma ? gamma + s.first_channel(row) : nullptr;
        for (std::size_t c = 0; c < planes; ++c) {
          GradientSums of_plane;
          for (std::size_t p = 0; p < pieces; ++p) of_plane += part[c * pieces + p];
          part[c * pieces] = of_plane;
          all += of_plane.times(gammas ? static_cast<double>(gammas[c]) : 1.0);
        }
        of_row[row] = all;
      },
      [&](std::size_t row, std::size_t i) {
        alignas(64) T dy_block[kRowBlock], x_block[kRowBlock], out[kRowBlock];
        const Run& run = runs[i];
        const std::size_t first = row * s.length + run.at;
        const T* g = elements.template load<0>(first, run.n, dy_block);
        const T* v = elements.template load<1>(first, run.n, x_block);
        T* to = elements.template target<2>(first, out);
        k.gradient_planes(v, g, to, run.planes, std::min(run.n, s.inner), affine,
                          s.first_channel(row) + run.channel, mean[row], invstd[row], of_row[row]);
        elements.template store<2>(first, run.n, to);
      },
      [&] { k.finish_stream(stream); });
  for (std::size_t row = 0; row < s.rows; ++row) {
    const std::size_t first = s.first_channel(row);
    for (std::size_t c = 0; c < planes; ++c) {
      const GradientSums& g = parts[(row * planes + c) * pieces];
      dgamma[first + c] += g.sum_dev * invstd[row];
      dbeta[first + c] += g.sum;
    }
  }
}

// --- channels in the last place --------------------------------------------------------------------------

// A sample is a matrix, positions × channels; where there are few channels, several positions lie side by
// side in one row of it, so that vectors are full. Its parts are kColumnRows rows each.
template <class... Operands>
class Matrices {
 public:
  using T = typename Elements<Operands...>::T;

  Matrices(const RowShape& shape, Operands... operands)
      : elements(shape.shape, Order::kC, operands...),
        s(shape),
        sample(s.inner * s.channels),
        width(s.channels * std::clamp<std::size_t>(kColumnsAtLeast / s.channels, 1, s.inner)),
        parts((sample + kColumnRows * width - 1) / (kColumnRows * width)),
        groups(s.channels / s.row_channels) {}

  std::size_t samples() const { return s.rows / groups; }

  // Calls body(first, n, rooms) for the elements of a part: at once where the operands are dense, else some
  // rows at a time, with room to copy those of each operand.
  template <class Body>
  void for_blocks(std::size_t unit, std::size_t part, Body&& body) const {
    const std::size_t begin = unit * sample + part * kColumnRows * width;
    const std::size_t end = std::min(begin + kColumnRows * width, (unit + 1) * sample);
    const std::size_t step = elements.dense() ? end - begin : kColumnSweep * width;
    const std::size_t size = elements.dense() ? 0 : step;
    std::vector<T> memory(sizeof...(Operands) * size);
    std::array<T*, sizeof...(Operands)> rooms;
    for (std::size_t i = 0; i < rooms.size(); ++i) rooms[i] = memory.data() + i * size;
    for (std::size_t first = begin; first < end; first += step) {
      body(first, std::min(step, end - first), rooms);
    }
  }

  // Calls body(column, channel, group) for every column, by channel.
  template <class Body>
  void for_columns(Body&& body) const {
    for (std::size_t column = 0; column < width;) {
      for (std::size_t group = 0, c = 0; group < groups; ++group) {
        for (std::size_t end = c + s.row_channels; c < end; ++c) body(column++, c, group);
      }
    }
  }

  const Elements<Operands...> elements;
  const RowShape& s;
  const std::size_t sample, width, parts, groups;
};

template <class T>
void normalize_in_columns(const RowShape& s, In<T> x, Out<T> y, const T* gamma, const T* beta, double eps,
                          double* mean, double* invstd) {
  const auto& k = table<T>();
  const Matrices<In<T>, Out<T>> m(s, x, y);
  const std::size_t samples = m.samples(), width = m.width;
  std::vector<T> sums(samples * m.parts * 2 * width), affine(samples * 3 * width);
  const std::size_t bytes = 2 * s.shape.size * sizeof(T);
  const auto at = [&](std::size_t first) {
    T room;
    return *m.elements.template load<0>(first, 1, &room);
  };
  // An element near the mean of a row: the median of three.
  const auto near = [&](std::size_t row) {
    const std::size_t begin = row / m.groups * m.sample + s.first_channel(row), c = s.row_channels;
    const T first = at(begin), middle = at(begin + s.inner / 2 * s.channels + c / 2),
            last = at(begin + (s.inner - 1) * s.channels + c - 1);
    return std::max(std::min(first, middle), std::min(std::max(first, middle), last));
  };
  // In double about the mean, where that is far from `near` or float cannot hold the squares.
  const auto wide = [&](std::size_t row, double centre) {
    const std::size_t begin = row / m.groups * m.sample + s.first_channel(row);
    double sum = 0, squares = 0;
    for (std::size_t p = 0; p < s.inner; ++p) {
      for (std::size_t c = 0; c < s.row_channels; ++c) {
        const double deviation = static_cast<double>(at(begin + p * s.channels + c)) - centre;
        sum += deviation;
        squares += deviation * deviation;
      }
    }
    return Moments::of_sums(static_cast<double>(s.length), centre, sum, squares);
  };
  two_sweeps(
      threading::team_for(bytes), samples, m.parts,
      [&](std::size_t unit, std::size_t part) {
        std::vector<T> shifts(m.groups), shift(width);
        for (std::size_t g = 0; g < m.groups; ++g) shifts[g] = near(unit * m.groups + g);
        m.for_columns([&](std::size_t column, std::size_t, std::size_t g) { shift[column] = shifts[g]; });
        T* const sum = &sums[(unit * m.parts + part) * 2 * width];
        m.for_blocks(unit, part, [&](std::size_t first, std::size_t n, const auto& rooms) {
          k.column_moments(m.elements.template load<0>(first, n, rooms[0]), n, width, shift.data(), sum,
                           sum + width);
        });
      },
      [&](std::size_t unit) {
        const auto n = static_cast<double>(s.length);
        const std::size_t row = unit * m.groups;
        std::vector<double> sum(m.groups), squares(m.groups);
        for (std::size_t part = 0; part < m.parts; ++part) {
          const T* of_part = &sums[(unit * m.parts + part) * 2 * width];
          m.for_columns([&](std::size_t column, std::size_t, std::size_t g) {
            sum[g] += static_cast<double>(of_part[column]);
            squares[g] += static_cast<double>(of_part[width + column]);
          });
        }
        for (std::size_t g = 0; g < m.groups; ++g) {
          const T shift = near(row + g);
          Moments all = Moments::of_sums(n, static_cast<double>(shift), sum[g], squares[g]);
          if (far_from_mean(n, sum[g], squares[g]) || !squares_in_range<T>(all.m2, eps)) {
            all = wide(row + g, std::isfinite(all.mean) ? all.mean : static_cast<double>(shift));
          }
          mean[row + g] = all.mean;
          invstd[row + g] = 1 / std::sqrt(all.m2 / n + eps);
        }
        T* const a = &affine[unit * 3 * width];
        m.for_columns([&](std::size_t column, std::size_t c, std::size_t g) {
          const T high = static_cast<T>(mean[row + g]);
          const double scale = invstd[row + g] * (gamma ? static_cast<double>(gamma[c]) : 1.0);
          const double low = mean[row + g] - static_cast<double>(high);
          a[column] = high;
          a[width + column] = saturated<T>(scale);
          a[2 * width + column] = static_cast<T>((beta ? static_cast<double>(beta[c]) : 0.0) - low * scale);
        });
      },
      [&](std::size_t unit, std::size_t part) {
        const T* const a = &affine[unit * 3 * width];
        m.for_blocks(unit, part, [&](std::size_t first, std::size_t n, const auto& rooms) {
          T* to = m.elements.template target<1>(first, rooms[1]);
          k.column_apply(m.elements.template load<0>(first, n, rooms[0]), to, n, width,
                         {a, a + width, a + 2 * width});
          m.elements.template store<1>(first, n, to);
        });
      },
      [] {});
}

template <class T>
void gradient_in_columns(const RowShape& s, In<T> dy, In<T> x, Out<T> dx, const T* gamma, const double* mean,
                         const double* invstd, double* dgamma, double* dbeta) {
  const auto& k = table<T>();
  const Matrices<In<T>, In<T>, Out<T>> m(s, dy, x, dx);
  const std::size_t samples = m.samples(), width = m.width;
  std::vector<T> sums(samples * m.parts * 2 * width), affine(samples * 5 * width);
  const std::size_t bytes = 3 * s.shape.size * sizeof(T);
  std::vector<GradientSums> of_channel(samples * s.channels);
  two_sweeps(
      threading::team_for(bytes), samples, m.parts,
      [&](std::size_t unit, std::size_t part) {
        std::vector<T> means(width);
        m.for_columns([&](std::size_t column, std::size_t, std::size_t g) {
          means[column] = static_cast<T>(mean[unit * m.groups + g]);
        });
        T* const sum = &sums[(unit * m.parts + part) * 2 * width];
        m.for_blocks(unit, part, [&](std::size_t first, std::size_t n, const auto& rooms) {
          k.column_gradient_sums(m.elements.template load<1>(first, n, rooms[1]),
                                 m.elements.template load<0>(first, n, rooms[0]), n, width, means.data(), sum,
                                 sum + width);
        });
      },
      [&](std::size_t unit) {
        GradientSums* const channel = &of_channel[unit * s.channels];
        for (std::size_t part = 0; part < m.parts; ++part) {
          const T* of_part = &sums[(unit * m.parts + part) * 2 * width];
          m.for_columns([&](std::size_t column, std::size_t c, std::size_t) {
            channel[c] +=
                {static_cast<double>(of_part[column]), static_cast<double>(of_part[width + column])};
          });
        }
        std::vector<RowSlope> slopes(m.groups);
        for (std::size_t g = 0; g < m.groups; ++g) {
          const std::size_t row = unit * m.groups + g, first = s.first_channel(row);
          const double low = mean[row] - static_cast<double>(static_cast<T>(mean[row]));
          GradientSums all;
          for (std::size_t c = first; c < first + s.row_channels; ++c) {
            channel[c].sum_dev -= low * channel[c].sum;  // what the dtype loses of the mean
            all += channel[c].times(gamma ? static_cast<double>(gamma[c]) : 1.0);
          }
          slopes[g] = RowSlope(all, s.length, low, invstd[row]);
        }
        T* const a = &affine[unit * 5 * width];
        m.for_columns([&](std::size_t column, std::size_t c, std::size_t g) {
          a[column] = static_cast<T>(mean[unit * m.groups + g]);
          a[width + column] = gamma ? gamma[c] : T(1);
          a[2 * width + column] = saturated<T>(invstd[unit * m.groups + g]);
          a[3 * width + column] = static_cast<T>(slopes[g].slope);
          a[4 * width + column] = static_cast<T>(slopes[g].offset);
        });
      },
      [&](std::size_t unit, std::size_t part) {
        const T* const a = &affine[unit * 5 * width];
        m.for_blocks(unit, part, [&](std::size_t first, std::size_t n, const auto& rooms) {
          T* to = m.elements.template target<2>(first, rooms[2]);
          k.column_gradient(m.elements.template load<1>(first, n, rooms[1]),
                            m.elements.template load<0>(first, n, rooms[0]), to, n, width,
                            {a, a + width, a + 2 * width, a + 3 * width, a + 4 * width});
          m.elements.template store<2>(first, n, to);
        });
      },
      [] {});
  for (std::size_t unit = 0; unit < samples; ++unit) {
    for (std::size_t c = 0; c < s.channels; ++c) {
      const GradientSums& g = of_channel[unit * s.channels + c];
      dgamma[c] += g.sum_dev * invstd[unit * m.groups + c / s.row_channels];
      dbeta[c] += g.sum;
    }
  }
}

// --- planes of a few elements ----------------------------------------------------------------------------

// Below a vector or two a plane is not worth a call: its parameters are repeated, one an element.
bool tiny_planes(const RowShape& s) { return s.inner > 1 && s.inner < 32 && !s.channels_last; }

RowShape with_one_each(const RowShape& s) { return {s.shape, s.length, 1, s.channels * s.inner}; }

template <class T>
std::vector<T> repeated(const RowShape& s, const T* parameter) {
  std::vector<T> each;
  if (parameter == nullptr) return each;
  each.reserve(s.channels * s.inner);
  for (std::size_t c = 0; c < s.channels; ++c) each.insert(each.end(), s.inner, parameter[c]);
  return each;
}

}  // namespace

template <class T>
void row_norm(const RowShape& s, bool centred, In<T> x, In<T> residual, Out<T> h, Out<T> y, const T* gamma,
              const T* beta, double eps, double* mean, double* invstd) {
  if (s.rows == 0) return;
  if (s.channels_last && s.inner > 1) {
    normalize_in_columns(s, x, y, gamma, beta, eps, mean, invstd);
  } else if (tiny_planes(s)) {
    const std::vector<T> gammas = repeated(s, gamma), betas = repeated(s, beta);
    normalize_in_rows(with_one_each(s), centred, x, residual, h, y, gamma ? gammas.data() : nullptr,
                      beta ? betas.data() : nullptr, eps, mean, invstd);
  } else {
    normalize_in_rows(s, centred, x, residual, h, y, gamma, beta, eps, mean, invstd);
  }
}

template <class T>
void row_norm_backward(const RowShape& s, bool centred, In<T> dy, In<T> x, Out<T> dx, const T* gamma,
                       const double* mean, const double* invstd, double* dgamma, double* dbeta) {
  if (s.rows != 0 && s.inner == 1) {  // which sets all sums
    return gradient_in_rows(s, centred, dy, x, dx, gamma, mean, invstd, dgamma, dbeta);
  }
  std::fill_n(dgamma, s.channels, 0.0);
  std::fill_n(dbeta, s.channels, 0.0);
  if (s.rows == 0) return;
  if (s.channels_last) {
    gradient_in_columns(s, dy, x, dx, gamma, mean, invstd, dgamma, dbeta);
  } else if (tiny_planes(s)) {
    const std::vector<T> gammas = repeated(s, gamma);
    std::vector<double> each(2 * s.channels * s.inner);
    double *const each_gamma = each.data(), *const each_beta = each_gamma + s.channels * s.inner;
    gradient_in_rows(with_one_each(s), centred, dy, x, dx, gamma ? gammas.data() : nullptr, mean, invstd,
                     each_gamma, each_beta);
    for (std::size_t i = 0; i < s.channels * s.inner; ++i) {
      dgamma[i / s.inner] += each_gamma[i];
      dbeta[i / s.inner] += each_beta[i];
    }
  } else {
    gradient_in_planes(s, dy, x, dx, gamma, mean, invstd, dgamma, dbeta);
  }
}

#define REGKERN_INSTANTIATE(T)                                                                            \
  template void row_norm(const RowShape&, bool, In<T>, In<T>, Out<T>, Out<T>, const T*, const T*, double, \
                         double*, double*);                                                               \
  template void row_norm_backward(const RowShape&, bool, In<T>, In<T>, Out<T>, const T*, const double*,   \
                                  const double*, double*, double*)
REGKERN_INSTANTIATE(float);
REGKERN_INSTANTIATE(double);
#undef REGKERN_INSTANTIATE

}  // namespace regkern
#endif  // HWY_ONCE
