// The gradients of layer, RMS, group and instance norm by rows. Threads share groups of rows, or the pieces
// of long rows; the sums of groups and of pieces are added in their order.

#include "core/layer_norm/layer_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/layer_norm/backward.cc"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "core/dispatch.h"
#include "core/elementwise.h"
#include "core/layer_norm/cut.h"
#include "kernels/layer_norm/backward-inl.h"

#define REGKERN_FAMILY layer_norm
#define REGKERN_KERNELS(X) \
  X(row_gradient_sums)     \
  X(plane_gradient_sums)   \
  X(gradient_run)          \
  X(gradient_rows)         \
  X(gradient_planes)       \
  X(row_flush)             \
  X(magnitudes)
#define REGKERN_PLAIN_KERNELS(X) X(count_usual) X(bfloat16_gradients) X(float16_gradients)
#include "core/table-inl.h"

#if HWY_ONCE
namespace regkern::layer_norm {
namespace {

// How many rows of a gradient that have the same parameters share a sweep, and with it the loads and stores
// of the sums of gamma and beta: those of half a page and more are four. But rows that are whole half pages
// apart would share sets of a first cache of 32 KiB, which is where the last one is fast.
template <class T>
std::size_t rows_together(const RowShape& s) {
  const bool share_sets = s.channels * sizeof(T) % 2048 == 0 && !last_cache_is_slow();
  return std::clamp<std::size_t>(8192 / (s.length * sizeof(T)), share_sets ? 2 : 4,
                                 share_sets ? 4 : kRowsFolded);
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

  RowParameters<T> parameters() const { return {first_ + 2 * stride_, first_, first_ + stride_}; }

 private:
  static constexpr std::size_t kLine = 64 / sizeof(T);
  std::size_t stride_;
  std::vector<T> memory_;
  T* first_;
};

// The rows of a gradient as a grid of the shape alone: some groups of them, each with sums of gamma and
// beta of its own. Inside one the sums of some rows are added in the dtype before they go to double.
class RowGroups {
 public:
  static constexpr std::size_t kFlush = 32, kMost = 32;  // cycles in the dtype; groups

  RowGroups(const RowShape& s, double* dgamma, double* dbeta)
      : cycle(s.channels / s.length),
        cycles(s.rows / cycle),
        channels_(s.channels),
        dgamma_(dgamma),
        dbeta_(dbeta) {
    // Fewer rows would not be worth the sums; a few rows make two groups, so that two threads have work.
    const std::size_t worth = std::clamp<std::size_t>((cycles / 2 + 3) / 4 * 4, 8, kFlush);
    length = std::max({(cycles + kMost - 1) / kMost, worth, 2 * kRowBlock / s.channels});
    count = (cycles + length - 1) / length;
    if (count != 1) memory_ = std::make_unique_for_overwrite<double[]>(2 * count * channels_);
  }

  // Of gamma and of beta; those of the only group lie where they belong at once.
  std::pair<double*, double*> sums_of(std::size_t group) const {
    if (count == 1) return {dgamma_, dbeta_};
    double* const first = memory_.get() + 2 * group * channels_;
    return {first, first + channels_};
  }

  void add_up() const {
    if (count == 1) return;
    std::copy_n(sums_of(0).first, channels_, dgamma_);
    std::copy_n(sums_of(0).second, channels_, dbeta_);
    for (std::size_t group = 1; group < count; ++group) {
      const auto [of_gamma, of_beta] = sums_of(group);
      for (std::size_t c = 0; c < channels_; ++c) dgamma_[c] += of_gamma[c];
      for (std::size_t c = 0; c < channels_; ++c) dbeta_[c] += of_beta[c];
    }
  }

  std::size_t cycle;   // rows until the affine parameters come again
  std::size_t cycles;  // of all rows
  std::size_t length;  // of a group, in cycles
  std::size_t count;   // of groups

 private:
  std::size_t channels_;
  double *dgamma_, *dbeta_;
  std::unique_ptr<double[]> memory_;
};

template <class T>
using GradientElements = Elements<In<T>, In<T>, Out<T>>;

// Rows that fit a block: threads share the groups, and a group goes row by row.
template <class T>
void gradient_in_short_rows(const RowShape& s, const RowNormBackward<T>& b,
                            const GradientElements<T>& elements, const RowAffine<T>& affine,
                            const RowUnits<T>& units, threading::Team team) {
  const Table<T>& k = table<T>();
  const RowGroups groups(s, b.dgamma, b.dbeta);
  const std::size_t cycle = groups.cycle;
  threading::for_ranges(team, groups.count, 1, [&](std::size_t begin, std::size_t end) {
    // Rows that go through the kernel together.
    const std::size_t batch =
        elements.dense() ? RowGroups::kFlush * cycle : (kRowBlock * 4 / s.channels + 1) * cycle;
    const ParameterRows<T> part(s.channels, b.dx.data, b.gamma);
    const std::size_t size = elements.dense() ? 0 : batch * s.length;
    std::vector<T> room(3 * size);
    T *const dy_room = room.data(), *const x_room = dy_room + size, *const dx_room = x_room + size;
    std::vector<T> hats;
    // Runs of usual rows together, as far as they are whole cycles; the others one by one.
    const auto gradient_rows = [&](RowOperands<T> o, std::size_t row, std::size_t rows) {
      for (std::size_t n; rows != 0; o = o.at(n * s.length), row += n, rows -= n) {
        const RowParameters<T> p = part.parameters();
        const std::size_t past = row % cycle, most = past == 0 ? rows : std::min(rows, cycle - past);
        const std::size_t usual = k.count_usual(b.invstd + row, most, units.usual);
        n = past != 0 || usual < cycle ? 1 : usual / cycle * cycle;
        if (usual != 0) {
          k.gradient_rows(o, n, affine, p, s.first_channel(row), b.mean + row, b.invstd + row);
          continue;
        }
        hats.resize(s.length);
        const T* const v = units.x(row, o.x, s.length, hats.data());
        const double mean = units.mean(row), invstd = units.invstd(row);
        k.gradient_rows({v, o.dy, o.dx}, n, affine, p, s.first_channel(row), &mean, &invstd);
        units.finish(row, o.dx, s.length);
      }
    };
    for (std::size_t group = begin; group < end; ++group) {
      const std::size_t last = std::min(groups.cycles, (group + 1) * groups.length) * cycle;
      const auto [total_gamma, total_beta] = groups.sums_of(group);
      const std::size_t begin_of_group = group * groups.length * cycle;
      for (std::size_t row = begin_of_group; row < last;) {
        const std::size_t flush = std::min(last, row + RowGroups::kFlush * cycle);
        const bool first_flush = row == begin_of_group;
        for (; row < flush; row += std::min(batch, flush - row)) {
          const std::size_t rows = std::min(batch, flush - row), first = row * s.length, n = rows * s.length;
          const T* g = elements.template load<0>(first, n, dy_room);
          const T* v = elements.template load<1>(first, n, x_room);
          T* to = elements.template target<2>(first, dx_room);
          gradient_rows({v, g, to}, row, rows);
          elements.template store<2>(first, n, to);
        }
        k.row_flush(total_gamma, part.parameters().dgamma, s.channels, first_flush);
        k.row_flush(total_beta, part.parameters().dbeta, s.channels, first_flush);
      }
    }
    finish_stream(affine.stream);
  });
  groups.add_up();
}

// Longer ones, a piece at a time: threads share the groups or, where these are too few, the pieces of all
// rows and then the columns.
template <class T>
void gradient_in_long_rows(const RowShape& s, const RowNormBackward<T>& b,
                           const GradientElements<T>& elements, const RowAffine<T>& affine,
                           const RowUnits<T>& units, threading::Team team) {
  const Table<T>& k = table<T>();
  const RowGroups groups(s, b.dgamma, b.dbeta);
  const std::vector<Run> runs = runs_of_row(s);
  std::vector<GradientSums> parts(s.rows * runs.size());
  std::vector<T> part(2 * groups.count * s.channels);
  const std::vector<T> ones(b.gamma ? 0 : kRowBlock, T(1));
  const auto gamma_of = [&](std::size_t channel) { return b.gamma ? b.gamma + channel : ones.data(); };
  const auto sum = [&](std::size_t row, std::size_t i) {
    alignas(64) T dy_block[kRowBlock], x_block[kRowBlock];
    const Run& run = runs[i];
    const std::size_t first = row * s.length + run.at;
    const T* v = units.x(row, elements.template load<1>(first, run.n, x_block), run.n, x_block);
    parts[row * runs.size() + i] =
        k.row_gradient_sums(v, elements.template load<0>(first, run.n, dy_block),
                            gamma_of(s.first_channel(row) + run.channel), run.n, units.mean(row));
  };
  const auto apply = [&](std::size_t row, std::size_t i) {
    alignas(64) T dy_block[kRowBlock], x_block[kRowBlock], out[kRowBlock];
    const Run& run = runs[i];
    const std::size_t first = row * s.length + run.at, channel = s.first_channel(row) + run.channel;
    GradientSums all;
    for (std::size_t p = 0; p < runs.size(); ++p) all += parts[row * runs.size() + p];
    const T* g = elements.template load<0>(first, run.n, dy_block);
    const T* v = units.x(row, elements.template load<1>(first, run.n, x_block), run.n, x_block);
    T* to = elements.template target<2>(first, out);
    const std::size_t cycle_of_row = row / groups.cycle, group = cycle_of_row / groups.length;
    T *const of_gamma = &part[2 * group * s.channels + channel], *const of_beta = of_gamma + s.channels;
    k.gradient_run({v, g, to}, run.n, affine, {gamma_of(channel), of_gamma, of_beta}, units.mean(row),
                   units.invstd(row), all);
    units.finish(row, to, run.n);
    elements.template store<2>(first, run.n, to);
    const std::size_t done = cycle_of_row % groups.length + 1;
    if (done % RowGroups::kFlush == 0 || done == groups.length || cycle_of_row + 1 == groups.cycles) {
      const auto [total_gamma, total_beta] = groups.sums_of(group);
      k.row_flush(total_gamma + channel, of_gamma, run.n, done <= RowGroups::kFlush);
      k.row_flush(total_beta + channel, of_beta, run.n, done <= RowGroups::kFlush);
    }
  };
  if (groups.count >= team.count()) {
    threading::for_ranges(team, groups.count, 1, [&](std::size_t begin, std::size_t end) {
      const std::size_t last = std::min(groups.cycles, end * groups.length) * groups.cycle;
      for (std::size_t row = begin * groups.length * groups.cycle; row < last; ++row) {
        for (std::size_t i = 0; i < runs.size(); ++i) sum(row, i);
        for (std::size_t i = 0; i < runs.size(); ++i) apply(row, i);
      }
      finish_stream(affine.stream);
    });
  } else {  // few rows: columns go to different threads
    threading::for_ranges(team, parts.size(), 1, [&](std::size_t begin, std::size_t end) {
      for (std::size_t p = begin; p < end; ++p) sum(p / runs.size(), p % runs.size());
    });
    threading::for_ranges(team, runs.size(), 1, [&](std::size_t begin, std::size_t end) {
      for (std::size_t row = 0; row < s.rows; ++row) {
        for (std::size_t i = begin; i < end; ++i) apply(row, i);
      }
      finish_stream(affine.stream);
    });
  }
  groups.add_up();
}

}  // namespace

template <class T>
void gradient_in_rows(const RowShape& s, const RowNormBackward<T>& b) {
  const GradientElements<T> elements(s.shape, Order::kC, b.dy, b.x, b.dx);
  const std::size_t bytes = 3 * s.shape.size * sizeof(T);
  const threading::Team team = threading::team_for(bytes);
  const bool stream = worth_streaming(bytes) && elements.dense() && s.length * sizeof(T) % 64 == 0 &&
                      b.dx.data != b.dy.data && s.length >= 128;
  const RowAffine<T> affine{.centred = b.centred,
                            .stream = stream,
                            .far = far_away(bytes),
                            .by_hand = last_cache_is_slow(),
                            .eps = 0,
                            .length = s.length,
                            .inner = 1,
                            .channels = s.channels,
                            .gamma = b.gamma,
                            .beta = nullptr,
                            .together = rows_together<T>(s)};
  const RowUnits<T> units(b, safe_gradients<T>(table<T>().magnitudes(b.gamma, s.channels)));
  if (s.length <= kRowBlock) {
    gradient_in_short_rows(s, b, elements, affine, units, team);
  } else {
    gradient_in_long_rows(s, b, elements, affine, units, team);
  }
}

// Every channel is a plane of `inner` elements with its own affine parameters.
template <class T>
void gradient_in_planes(const RowShape& s, const RowNormBackward<T>& b) {
  const Table<T>& k = table<T>();
  const GradientElements<T> elements(s.shape, Order::kC, b.dy, b.x, b.dx);
  const std::size_t bytes = 3 * s.shape.size * sizeof(T);
  const bool stream = worth_streaming(bytes) && elements.dense() && s.inner >= 256;
  const RowAffine<T> affine{.centred = true,
                            .stream = stream,
                            .far = far_away(bytes / 8) && elements.dense(),  // with less it gains nothing
                            .by_hand = last_cache_is_slow(),
                            .eps = 0,
                            .length = s.length,
                            .inner = s.inner,
                            .channels = s.channels,
                            .gamma = b.gamma,
                            .beta = nullptr};
  const HalfPlaneGradients* const halves =
      half_kernels(*k.bfloat16_gradients, *k.float16_gradients, s.shape, b.dy, b.x, b.dx);
  RowAffine<T> of_halves = affine;
  of_halves.stream = worth_streaming(bytes / 2) && s.inner >= 256;
  RowUnits<T> units(b, safe_gradients<T>(k.magnitudes(b.gamma, s.channels)));
  units.all_usual = k.count_usual(b.invstd, s.rows, units.usual) == s.rows;
  const std::vector<Run> runs = runs_of_row(s);
  const std::size_t planes = s.row_channels, pieces = (s.inner + kRowBlock - 1) / kRowBlock;
  std::vector<GradientSums> parts(s.rows * planes * pieces), of_row(s.rows);
  two_sweeps(
      threading::team_for(bytes), s.rows, runs.size(),
      [&](std::size_t row, std::size_t i) {
        alignas(64) T dy_block[kRowBlock], x_block[kRowBlock];
        const Run& run = runs[i];
        const std::size_t first = row * s.length + run.at, plane = std::min(run.n, s.inner);
        GradientSums* const sums = &parts[(row * planes + run.channel) * pieces + run.piece];
        if (halves != nullptr && units.is_usual(row)) {
          return halves->sums(half_data(b.x) + first, half_data(b.dy) + first, run.planes, plane, b.mean[row],
                              sums);
        }
        const T* v = units.x(row, elements.template load<1>(first, run.n, x_block), run.n, x_block);
        k.plane_gradient_sums(v, elements.template load<0>(first, run.n, dy_block), run.planes, plane,
                              units.mean(row), sums);
      },
      [&](std::size_t row) {
        GradientSums all;
        GradientSums* const part = &parts[row * planes * pieces];
        const T* const gammas = b.gamma ? b.gamma + s.first_channel(row) : nullptr;
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
        const std::size_t first = row * s.length + run.at, plane = std::min(run.n, s.inner);
        const std::size_t channel = s.first_channel(row) + run.channel;
        if constexpr (std::is_same_v<T, float>) {
          if (halves != nullptr && units.is_usual(row)) {
            const RowOperands<std::uint16_t> o{half_data(b.x), half_data(b.dy), half_data(b.dx)};
            return halves->apply(o.at(first), run.planes, plane, of_halves, channel, b.mean[row],
                                 b.invstd[row], of_row[row]);
          }
        }
        const T* g = elements.template load<0>(first, run.n, dy_block);
        const T* v = units.x(row, elements.template load<1>(first, run.n, x_block), run.n, x_block);
        T* to = elements.template target<2>(first, out);
        k.gradient_planes({v, g, to}, run.planes, plane, affine, channel, units.mean(row), units.invstd(row),
                          of_row[row]);
        units.finish(row, to, run.n);
        elements.template store<2>(first, run.n, to);
      },
      [&] { finish_stream(stream || of_halves.stream); });
  for (std::size_t row = 0; row < s.rows; ++row) {
    const std::size_t first = s.first_channel(row);
    for (std::size_t c = 0; c < planes; ++c) {
      const GradientSums& g = parts[(row * planes + c) * pieces];
      b.dgamma[first + c] += g.sum_dev * units.invstd(row);
      b.dbeta[first + c] += g.sum;
    }
  }
}

template void gradient_in_rows(const RowShape&, const RowNormBackward<float>&);
template void gradient_in_rows(const RowShape&, const RowNormBackward<double>&);
template void gradient_in_planes(const RowShape&, const RowNormBackward<float>&);
template void gradient_in_planes(const RowShape&, const RowNormBackward<double>&);

}  // namespace regkern::layer_norm
#endif  // HWY_ONCE
