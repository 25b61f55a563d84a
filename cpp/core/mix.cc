// Mixup and cutmix: each sample of a batch with a partner. Threads share the elements of all samples, so
// that no circle of partners is cut where a batch is mixed in place.

#include "regkern/mix.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/mix.cc"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/dispatch.h"
#include "core/streaming.h"
#include "core/strided.h"
#include "core/threading.h"
#include "kernels/mix-inl.h"

#ifndef REGKERN_MIX_TABLE
#define REGKERN_MIX_TABLE
namespace regkern {
template <class T>
using MixKernel = void (*)(const T* a, const T* b, T* y, std::size_t n, double lam, bool stream);
struct MixTable {
  MixKernel<std::uint8_t> bytes;
  MixKernel<float> floats;
  MixKernel<double> doubles;
};
}  // namespace regkern
#endif

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

constexpr MixTable kMixTable = {
    .bytes = &mix::mix_bytes, .floats = &mix::mix<float>, .doubles = &mix::mix<double>};
const MixTable& mix_table() { return kMixTable; }

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regkern {

REGKERN_EXPORT(mix_table);

namespace {

template <class T>
MixKernel<T> mix_kernel() {
  if constexpr (sizeof(T) == 1) {
    return REGKERN_TABLE(mix_table).bytes;
  } else if constexpr (sizeof(T) == 4) {
    return REGKERN_TABLE(mix_table).floats;
  } else {
    return REGKERN_TABLE(mix_table).doubles;
  }
}

// --- in what order samples can be written over -----------------------------------------------------------

// Who is read must not be written yet. Samples whom nobody reads (any more) go first; those left read each
// other in circles, of which the first sample is kept aside for the last one.
struct Turn {
  std::int64_t sample;
  bool first, last;  // of a circle of two or more
};

std::vector<Turn> turns_in_place(const std::int64_t* partner, std::ptrdiff_t n) {
  const auto count = static_cast<std::size_t>(n);
  std::vector<std::int64_t> readers(count, 0);
  std::vector<Turn> turns;
  turns.reserve(count);
  const auto at = [&](std::int64_t i) -> std::int64_t& { return readers[static_cast<std::size_t>(i)]; };
  for (std::int64_t i = 0; i < n; ++i) ++at(partner[i]);
  constexpr std::int64_t kDone = -1;
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t free = i; at(free) == 0; free = partner[free]) {
      turns.push_back({free, false, false});
      at(free) = kDone;
      --at(partner[free]);
    }
  }
  for (std::int64_t i = 0; i < n; ++i) {
    if (at(i) == kDone) continue;
    for (std::int64_t next = i; at(next) != kDone; next = partner[next]) {
      at(next) = kDone;
      turns.push_back({next, next == i && partner[i] != i, partner[next] == i && next != i});
    }
  }
  return turns;
}

std::size_t size_of(const Batch& b) { return Extents(b.ndim, b.shape).size; }

bool in_place(const Batch& b) { return b.x == b.y; }

// Samples as walks over their elements, in the order of x's memory.
template <class T>
struct Samples {
  explicit Samples(const Batch& b)
      : batch(b),
        walk(make_walk<2>(Extents(b.ndim, b.shape), Order::kAny, {b.x_strides + 1, b.y_strides + 1},
                          sizeof(T))) {
    const auto even = [](std::ptrdiff_t stride) {
      return stride % static_cast<std::ptrdiff_t>(alignof(T)) == 0;
    };
    dense[0] = walk[0].template dense<T>(x(0)) && (b.n == 1 || even(b.x_strides[0]));
    dense[1] = walk[1].template dense<T>(y(0)) && (b.n == 1 || even(b.y_strides[0]));
  }

  const T* x(std::int64_t i) const {
    return reinterpret_cast<const T*>(static_cast<const char*>(batch.x) + i * batch.x_strides[0]);
  }
  T* y(std::int64_t i) const {
    return reinterpret_cast<T*>(static_cast<char*>(batch.y) + i * batch.y_strides[0]);
  }
  bool all_dense() const { return dense[0] && dense[1]; }

  // Elements [first, first + n) of sample i: where they lie, or a copy.
  const T* load(std::int64_t i, std::size_t first, std::size_t n, T* buffer) const {
    if (dense[0]) return x(i) + first;
    walk[0].gather(x(i), first, n, buffer);
    return buffer;
  }
  T* target(std::int64_t i, std::size_t first, T* buffer) const { return dense[1] ? y(i) + first : buffer; }
  void store(std::int64_t i, std::size_t first, std::size_t n, const T* from) const {
    if (!dense[1]) walk[1].scatter(from, y(i), first, n);
  }

  const Batch& batch;
  std::array<Strided, 2> walk;
  bool dense[2];
};

constexpr std::size_t kMixBlock = 4096;  // elements of a sample at once; three buffers a thread

template <class T>
void mixup_in_place(const Samples<T>& s, const std::int64_t* partner, const double* lam, std::size_t size) {
  const auto mix = mix_kernel<T>();
  const std::vector<Turn> turns = turns_in_place(partner, s.batch.n);
  const std::size_t bytes = 3 * static_cast<std::size_t>(s.batch.n) * size * sizeof(T);
  // Threads share the elements of all samples, so no circle is cut.
  threading::for_ranges(threading::team_for(bytes), size, 64, [&](std::size_t begin, std::size_t end) {
    alignas(64) T kept[kMixBlock], a[kMixBlock], b[kMixBlock];
    for (std::size_t first = begin; first < end; first += kMixBlock) {
      const std::size_t n = std::min(kMixBlock, end - first);
      for (const Turn& turn : turns) {
        const std::int64_t i = turn.sample;
        const T* const mine = s.load(i, first, n, a);
        if (turn.first) std::memcpy(kept, mine, n * sizeof(T));
        if (sizeof(T) == 1 && lam[i] == 1) continue;
        const T* const other = turn.last ? kept : s.load(partner[i], first, n, b);
        T* const y = s.target(i, first, a);
        mix(mine, other, y, n, lam[i], false);
        s.store(i, first, n, y);
      }
    }
  });
}

template <class T>
struct MixBuffers {
  alignas(64) T mine[kMixBlock], other[kMixBlock], y[kMixBlock];
};

// Makes elements [first, first + n) of sample i.
template <class T>
struct Mixer {
  HWY_INLINE void operator()(std::int64_t i, std::size_t first, std::size_t n, MixBuffers<T>& buffers) const {
    const T* const mine = samples.load(i, first, n, buffers.mine);
    T* const y = samples.target(i, first, buffers.y);
    if (sizeof(T) == 1 && lam[i] == 1) {
      std::memcpy(y, mine, n * sizeof(T));
    } else {
      kernel(mine, samples.load(partner[i], first, n, buffers.other), y, n, lam[i], stream);
    }
    samples.store(i, first, n, y);
  }

  const Samples<T>& samples;
  const std::int64_t* partner;
  const double* lam;
  MixKernel<T> kernel;
  bool stream;
};

// Each sample behind its partner, as far as that goes, so that the partner has just been read.
std::vector<std::int64_t> chains(const std::int64_t* partner, std::ptrdiff_t n) {
  const auto count = static_cast<std::size_t>(n);
  std::vector<std::int64_t> order;
  std::vector<bool> done(count, false);
  order.reserve(count);
  for (std::int64_t i = 0; i < n; ++i) {
    const auto chain = static_cast<std::ptrdiff_t>(order.size());
    for (std::int64_t next = i; !done[static_cast<std::size_t>(next)]; next = partner[next]) {
      done[static_cast<std::size_t>(next)] = true;
      order.push_back(next);
    }
    std::reverse(order.begin() + chain, order.end());
  }
  return order;
}

}  // namespace

template <class T>
void mixup(const Batch& batch, const std::int64_t* partner, const double* lam) {
  const std::size_t size = size_of(batch), n = static_cast<std::size_t>(batch.n), all = n * size;
  if (all == 0) return;
  const Samples<T> s(batch);
  if (in_place(batch)) return mixup_in_place(s, partner, lam, size);
  const std::size_t bytes = 3 * all * sizeof(T);
  const bool stream = worth_streaming(bytes);
  const threading::Team team = threading::team_for(bytes);
  const Mixer<T> mix{s, partner, lam, mix_kernel<T>(), stream};
  constexpr std::size_t kShort = 4096;  // bytes of a sample: the processor looks ahead within a page
  if (size * sizeof(T) < kShort || bytes <= second_level_cache()) {
    return threading::for_ranges(team, all, 1024, [&](std::size_t begin, std::size_t end) {
      MixBuffers<T> buffers;
      for (std::size_t at = begin; at < end;) {
        const std::size_t i = at / size, first = at % size;
        std::size_t length = std::min(size - first, end - at);
        if (!s.all_dense()) length = std::min(length, kMixBlock);
        mix(static_cast<std::int64_t>(i), first, length, buffers);
        at += length;
      }
      finish_stream(stream);
    });
  }
  // A few samples of a chain together, block after block: large ones would not stay in cache.
  constexpr std::size_t kTogether = 8;
  const std::vector<std::int64_t> order = chains(partner, batch.n);
  const std::size_t blocks = (size + kMixBlock - 1) / kMixBlock;
  threading::for_ranges(team, n * blocks, 1, [&](std::size_t begin, std::size_t end) {
    MixBuffers<T> buffers;
    for (std::size_t unit = begin; unit < end; ++unit) {
      const std::size_t chosen = unit / (kTogether * blocks) * kTogether, place = unit - chosen * blocks;
      const std::size_t together = std::min(kTogether, n - chosen), first = place / together * kMixBlock;
      mix(order[chosen + place % together], first, std::min(kMixBlock, size - first), buffers);
    }
    finish_stream(stream);
  });
}

// --- cutmix ----------------------------------------------------------------------------------------------

namespace {

// Where pixels are in a sample.
struct Layout {
  Layout(const Batch& b, const std::ptrdiff_t* strides, bool channels_last, std::size_t item_)
      : height(b.shape[channels_last ? 0 : 1]),
        width(b.shape[channels_last ? 1 : 2]),
        channels(b.shape[channels_last ? 2 : 0]),
        step_y(strides[channels_last ? 1 : 2]),
        step_x(strides[channels_last ? 2 : 3]),
        step_c(strides[channels_last ? 3 : 1]),
        item(item_) {}

  std::ptrdiff_t height, width, channels, step_y, step_x, step_c;
  std::size_t item;
};

struct Span {
  std::ptrdiff_t begin, end;
};

Span clipped(std::int64_t begin, std::int64_t length, std::ptrdiff_t size) {
  constexpr std::int64_t kFar = std::int64_t{1} << 61;  // sums of two do not overflow
  begin = std::clamp(begin, -kFar, kFar);
  const std::int64_t end = begin + std::min(length, kFar);
  return {std::clamp<std::int64_t>(begin, 0, size), std::clamp<std::int64_t>(end, 0, size)};
}

struct Box {
  Box(const std::int64_t* box, const Layout& layout)
      : rows(clipped(box[0], box[2], layout.height)), columns(clipped(box[1], box[3], layout.width)) {}
  bool holds(std::ptrdiff_t row) const {
    return rows.begin <= row && row < rows.end && columns.begin < columns.end;
  }
  Span rows, columns;
};

// Columns of one row: from one sample to another, both given by their first element.
void copy_row(const Layout& from, const char* x, const Layout& to, char* y, std::ptrdiff_t row,
              Span columns) {
  const std::ptrdiff_t n = columns.end - columns.begin, item = static_cast<std::ptrdiff_t>(from.item);
  x += row * from.step_y + columns.begin * from.step_x;
  y += row * to.step_y + columns.begin * to.step_x;
  const auto packed = [&](const Layout& l) {
    return (l.step_c == item || l.channels == 1) && l.step_x == item * l.channels;
  };
  if (packed(from) && packed(to)) {
    std::memcpy(y, x, static_cast<std::size_t>(n * item * from.channels));
    return;
  }
  const bool planar = from.step_x == item && to.step_x == item;
  for (std::ptrdiff_t c = 0; c < from.channels; ++c, x += from.step_c, y += to.step_c) {
    if (planar) {
      std::memcpy(y, x, static_cast<std::size_t>(n * item));
      continue;
    }
    for (std::ptrdiff_t i = 0; i < n; ++i) std::memcpy(y + i * to.step_x, x + i * from.step_x, from.item);
  }
}

template <class T>
void cutmix_in_place(const Batch& batch, const std::int64_t* partner, const std::int64_t* boxes,
                     const Layout& layout) {
  const std::vector<Turn> turns = turns_in_place(partner, batch.n);
  std::vector<Box> box;
  box.reserve(static_cast<std::size_t>(batch.n));
  std::size_t cut = 0;
  for (std::int64_t i = 0; i < batch.n; ++i) {
    box.emplace_back(boxes + 4 * i, layout);
    const Box& b = box.back();
    cut += static_cast<std::size_t>((b.rows.end - b.rows.begin) * (b.columns.end - b.columns.begin));
  }
  const std::size_t row_bytes = static_cast<std::size_t>(layout.width * layout.channels) * sizeof(T);
  const auto height = static_cast<std::size_t>(layout.height);
  const threading::Team team =
      threading::team_for(2 * cut * static_cast<std::size_t>(layout.channels) * sizeof(T));
  // One row a thread for what a circle keeps aside; packed.
  Layout aside = layout;
  aside.step_y = 0;
  aside.step_c = static_cast<std::ptrdiff_t>(sizeof(T));
  aside.step_x = layout.channels * aside.step_c;
  std::vector<char> kept(row_bytes * team.count());
  char* const y = static_cast<char*>(batch.y);
  threading::for_row_shares(team, height, [&](std::size_t begin, std::size_t end, std::size_t part) {
    char* const row = kept.data() + part * row_bytes;
    for (auto r = static_cast<std::ptrdiff_t>(begin); r < static_cast<std::ptrdiff_t>(end); ++r) {
      for (const Turn& turn : turns) {
        char* const mine = y + turn.sample * batch.y_strides[0];
        if (turn.first) copy_row(layout, mine, aside, row, r, {0, layout.width});
        const Box& b = box[static_cast<std::size_t>(turn.sample)];
        if (!b.holds(r) || partner[turn.sample] == turn.sample) continue;
        if (turn.last) {
          copy_row(aside, row, layout, mine, r, b.columns);
        } else {
          copy_row(layout, y + partner[turn.sample] * batch.y_strides[0], layout, mine, r, b.columns);
        }
      }
    }
  });
}

}  // namespace

template <class T>
void cutmix(const Batch& batch, const std::int64_t* partner, const std::int64_t* boxes, bool channels_last) {
  const std::size_t size = size_of(batch), n = static_cast<std::size_t>(batch.n);
  if (n * size == 0) return;
  const Layout to(batch, batch.y_strides, channels_last, sizeof(T));
  if (in_place(batch)) return cutmix_in_place<T>(batch, partner, boxes, to);
  const Layout from(batch, batch.x_strides, channels_last, sizeof(T));
  const Samples<T> s(batch);
  threading::for_ranges(
      threading::team_for(2 * n * size * sizeof(T)), n, 1, [&](std::size_t begin, std::size_t end) {
        T buffer[kMixBlock];
        for (auto i = static_cast<std::int64_t>(begin); i < static_cast<std::int64_t>(end); ++i) {
          if (s.all_dense()) {
            std::memcpy(s.y(i), s.x(i), size * sizeof(T));
          } else {
            for (std::size_t first = 0; first < size; first += kMixBlock) {
              const std::size_t m = std::min(kMixBlock, size - first);
              s.walk[0].gather(s.x(i), first, m, buffer);
              s.walk[1].scatter(buffer, s.y(i), first, m);
            }
          }
          const Box box(boxes + 4 * i, from);
          for (std::ptrdiff_t r = box.rows.begin; r < box.rows.end && box.holds(r); ++r) {
            copy_row(from, reinterpret_cast<const char*>(s.x(partner[i])), to,
                     reinterpret_cast<char*>(s.y(i)), r, box.columns);
          }
        }
      });
}

template void mixup<std::uint8_t>(const Batch&, const std::int64_t*, const double*);
template void mixup<float>(const Batch&, const std::int64_t*, const double*);
template void mixup<double>(const Batch&, const std::int64_t*, const double*);
template void cutmix<std::uint8_t>(const Batch&, const std::int64_t*, const std::int64_t*, bool);
template void cutmix<float>(const Batch&, const std::int64_t*, const std::int64_t*, bool);
template void cutmix<double>(const Batch&, const std::int64_t*, const std::int64_t*, bool);

}  // namespace regkern
#endif  // HWY_ONCE
