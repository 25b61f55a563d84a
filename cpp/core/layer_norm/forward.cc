// Layer, RMS, group and instance norm by rows. Threads share the rows, or the pieces of long ones; the
// moments of pieces are merged in their order.

#include "core/layer_norm/layer_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/layer_norm/forward.cc"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/dispatch.h"
#include "core/elementwise.h"
#include "core/layer_norm/cut.h"
#include "core/moments.h"
#include "kernels/layer_norm/forward-inl.h"

#define REGKERN_FAMILY layer_norm
#define REGKERN_KERNELS(X) \
  X(block_moments)         \
  X(row_apply)             \
  X(normalize_rows)        \
  X(row_add)               \
  X(magnitudes)
#define REGKERN_PLAIN_KERNELS(X) X(bfloat16_rows) X(float16_rows)
#include "core/table-inl.h"

#if HWY_ONCE
namespace regkern::layer_norm {
namespace {

// How many short rows are summed before they are written: as far as the first cache holds both, or few, so
// that fetching and writing are mixed.
template <class T>
std::size_t rows_in_sweep(const RowShape& s, bool far) {
  const std::size_t bytes = far ? 4096 : last_cache_is_slow() ? 16384 : 8192;
  return std::clamp<std::size_t>(bytes / (s.length * sizeof(T)), 1, kRowsFolded);
}

}  // namespace

template <class T>
void normalize_in_rows(const RowShape& s, const RowNormForward<T>& f) {
  const Table<T>& k = table<T>();
  const bool summed = f.residual.data != nullptr;
  const Elements<In<T>, In<T>, Out<T>, Out<T>> elements(s.shape, Order::kC, f.x, summed ? f.residual : f.x,
                                                        summed ? f.h : f.y, f.y);
  const std::size_t bytes = (summed ? 4 : 2) * s.shape.size * sizeof(T);
  const threading::Team team = threading::team_for(bytes);
  const bool stream = worth_streaming(bytes) && f.x.data != f.y.data && elements.dense() &&
                      (s.inner == 1 ? s.length : s.inner) >= 256;
  // Where the last cache is slow, rows of 64 bytes fetched by hand take 1.1 times as long, of 128 0.8 to 0.9,
  // of 256 to 512 0.65 to 0.8, planes of 196 1.1, of 784 and more 0.83 to 0.94; in the second cache only
  // those of 1 KiB gain. Where it is fast, short rows and little memory have not been tried.
  const std::size_t row_bytes = s.length * sizeof(T);
  const bool slow = last_cache_is_slow(), planes = s.inner > 1;
  const std::size_t least = !slow ? 1024 : planes ? 512 : 128;
  const bool far =
      far_away(planes && !slow ? bytes / 8 : bytes) && row_bytes >= least && elements.dense() && !summed;
  const bool by_hand = slow && (far || row_bytes >= 1024);
  const T* const gamma_of_planes = s.inner == 1 ? nullptr : f.gamma;  // which goes into their scales
  const RowAffine<T> affine{.centred = f.centred,
                            .stream = stream,
                            .far = far,
                            .by_hand = by_hand,
                            .eps = f.eps,
                            .length = s.length,
                            .inner = s.inner,
                            .channels = s.channels,
                            .gamma = f.gamma,
                            .beta = f.beta,
                            .together = rows_in_sweep<T>(s, far),
                            .usual = normal_scales<T>(k.magnitudes(gamma_of_planes, s.channels))};
  // The ends of shorter rows are too much of them, and to put parameters in order is too much for few.
  const bool rows_pay = s.channels == s.length && s.rows >= 4 && s.length >= (s.length % 16 == 0 ? 32 : 256);
  const bool as_they_lie = !summed && (s.inner == 1 ? rows_pay : f.centred && s.length >= 128);
  const HalfRows* const halves =
      as_they_lie ? half_kernels(*k.bfloat16_rows, *k.float16_rows, s.shape, f.x, f.y) : nullptr;
  RowAffine<T> of_halves = affine;
  of_halves.stream = worth_streaming(bytes / 2) && f.x.data != f.y.data && s.inner >= 256;
  std::vector<T> ordered;
  if constexpr (std::is_same_v<T, float>) {
    if (halves != nullptr && s.inner == 1) {
      ordered.resize(2 * s.length);
      if (f.gamma) halves->order_parameters(f.gamma, ordered.data(), s.length);
      if (f.beta) halves->order_parameters(f.beta, ordered.data() + s.length, s.length);
      of_halves.gamma = f.gamma ? ordered.data() : nullptr;
      of_halves.beta = f.beta ? ordered.data() + s.length : nullptr;
    }
  }
  // What is normalized of `n` elements from `first` on: the sum with the residual, which is written, or x.
  const auto summand = [&](std::size_t first, std::size_t n, T* in) {
    const T* p = elements.template load<0>(first, n, in);
    if (!summed) return p;
    alignas(64) T beside[kRowBlock], out[kRowBlock];
    T* to = elements.template target<2>(first, out);
    k.row_add(p, elements.template load<1>(first, n, beside), to, n);
    elements.template store<2>(first, n, to);
    return elements.template load<2>(first, n, in);  // as it is kept for the backward
  };
  if (s.length <= kRowBlock) {
    const std::size_t batch = kRowBlock / s.length;
    threading::for_ranges(team, s.rows, batch, [&](std::size_t begin, std::size_t end) {
      if constexpr (std::is_same_v<T, float>) {
        if (halves != nullptr) {
          const std::size_t first = begin * s.length;
          halves->rows(half_data(f.x) + first, half_data(f.y) + first, end - begin, of_halves,
                       s.first_channel(begin), f.mean + begin, f.invstd + begin);
          return finish_stream(of_halves.stream);
        }
      }
      alignas(64) T in[kRowBlock], out[kRowBlock];
      const std::size_t step = elements.dense() && !summed ? end - begin : batch;
      for (std::size_t row = begin; row < end; row += step) {
        const std::size_t rows = std::min(step, end - row), first = row * s.length;
        const T* p = summand(first, rows * s.length, in);
        T* to = elements.template target<3>(first, out);
        k.normalize_rows(p, to, rows, affine, s.first_channel(row), f.mean + row, f.invstd + row);
        elements.template store<3>(first, rows * s.length, to);
      }
      finish_stream(stream);
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
        const std::size_t first = row * s.length + run.at;
        part.n = static_cast<double>(run.n);
        if (halves != nullptr) {
          return halves->moments(half_data(f.x) + first, run.n, affine.by_hand, f.centred, f.eps, &part.mean,
                                 &part.m2);
        }
        k.block_moments(summand(first, run.n, in), run.n, affine.by_hand, f.centred, f.eps, &part.mean,
                        &part.m2);
      },
      [&](std::size_t row) {
        Moments all;
        for (std::size_t i = 0; i < runs.size(); ++i) all.merge(parts[row * runs.size() + i]);
        f.mean[row] = all.mean;
        const double v = all.m2 / static_cast<double>(s.length) + f.eps;
        f.invstd[row] = 1 / std::sqrt(v);
        if (!squares_suspect<T>(v)) return;
        const auto at = [&](std::size_t i) {
          T room;
          const std::size_t position = row * s.length + i;
          return static_cast<double>(summed ? *elements.template load<2>(position, 1, &room)
                                            : *elements.template load<0>(position, 1, &room));
        };
        rescale_row(s.length, f.centred, f.eps, at, f.mean + row, f.invstd + row);
      },
      [&](std::size_t row, std::size_t i) {
        alignas(64) T in[kRowBlock], out[kRowBlock];
        const Run& run = runs[i];
        const std::size_t first = row * s.length + run.at, channel = s.first_channel(row) + run.channel;
        if constexpr (std::is_same_v<T, float>) {
          if (halves != nullptr) {
            return halves->apply(half_data(f.x) + first, half_data(f.y) + first, run.n, of_halves, channel,
                                 f.mean[row], f.invstd[row], 0);
          }
        }
        const T* p = summed ? elements.template load<2>(first, run.n, in)
                            : elements.template load<0>(first, run.n, in);
        T* to = elements.template target<3>(first, out);
        k.row_apply(p, to, run.n, affine, channel, f.mean[row], f.invstd[row], 0);
        elements.template store<3>(first, run.n, to);
      },
      [&] { finish_stream(stream || of_halves.stream); });
}

template void normalize_in_rows(const RowShape&, const RowNormForward<float>&);
template void normalize_in_rows(const RowShape&, const RowNormForward<double>&);

}  // namespace regkern::layer_norm
#endif  // HWY_ONCE
