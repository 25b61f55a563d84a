// Elementwise work that depends on which elements are kept: a mask is decided a chunk at a time into bytes
// that stay in the L1 cache, and applied from there while the next chunk is decided.

#if defined(REGKERN_KERNELS_DROPOUT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_DROPOUT_INL_H_
#undef REGKERN_KERNELS_DROPOUT_INL_H_
#else
#define REGKERN_KERNELS_DROPOUT_INL_H_
#endif

#include "kernels/half-inl.h"
#include "kernels/philox-inl.h"
#include "kernels/random-inl.h"
#include "regkern/dropout.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace dropout {

constexpr size_t kDropoutChunk = 1024;
constexpr size_t kCacheLine = 64;
constexpr size_t kFetchAhead = 2 * kDropoutChunk;  // elements
constexpr size_t kLongestPiece = kMostDecided + 64;

// Bytes of −1 and 0, widened to lanes of all ones and zeros.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE V<D> lanes_of(D d, const int8_t* keep) {
#if HWY_TARGET == HWY_AVX2
  // Loaded into both halves at no cost, where one shuffle repeats them: a conversion would be two.
  const hn::Repartition<uint8_t, Tag<T>> d8;
  using Bytes = hwy::UnsignedFromSize<32 / sizeof(T)>;
  Bytes bytes;
  memcpy(&bytes, keep, sizeof(bytes));
  HWY_ALIGN uint8_t place[32];
  for (size_t i = 0; i < 32; ++i) place[i] = static_cast<uint8_t>(i / sizeof(T));
  const auto both = hn::BitCast(d8, hn::Set(hn::Repartition<Bytes, Tag<T>>(), bytes));
  return hn::BitCast(d, hn::TableLookupBytes(both, hn::Load(d8, place)));
#else
  const hn::RebindToSigned<Tag<T>> di;
  if constexpr (sizeof(T) == 4) {
    return hn::BitCast(d, hn::PromoteTo(di, hn::LoadU(hn::Rebind<int8_t, Tag<T>>(), keep)));
  } else {
    const hn::Rebind<int32_t, Tag<T>> d32;
    return hn::BitCast(d,
                       hn::PromoteTo(di, hn::PromoteTo(d32, hn::LoadU(hn::Rebind<int8_t, Tag<T>>(), keep))));
  }
#endif
}

// y[i] = op(lanes of keep[i], x[i]...). y is one of the inputs or disjoint from them; aligned if `stream`.
// Whole vectors of keep are read.
template <class T, class Op, class... In>
HWY_INLINE void map_kept(size_t n, const int8_t* keep, bool stream, Op op, T* y, const In*... x) {
  const Tag<T> d;
  const size_t N = hn::Lanes(d);
  size_t i = 0;
  if (stream) {
    for (; i + N <= n; i += N) hn::Stream(op(lanes_of(d, keep + i), hn::LoadU(d, x + i)...), d, y + i);
  } else {
    for (; i + N <= n; i += N) hn::StoreU(op(lanes_of(d, keep + i), hn::LoadU(d, x + i)...), d, y + i);
  }
  if (i < n) {
    store_partial(op(lanes_of(d, keep + i), load_partial(d, x + i, n - i)...), d, y + i, n - i);
  }
}

// The same of numbers of half precision, where op has two parts: what is kept is computed as a float, and
// rounded; what is dropped, written over it.
template <Storage kStorage, class Op>
HWY_INLINE void map_kept(size_t n, const int8_t* keep, bool stream, Op op, Half<kStorage>* y,
                         const Half<kStorage>* x) {
  using Stored = half::Stored<Half<kStorage>>;
  const typename Stored::D d;
  const hn::RebindToSigned<decltype(d)> di;
  const size_t N = hn::Lanes(d);
  const auto result = [=](size_t i, auto bits) HWY_ATTR {
    const auto kept = hn::PromoteTo(di, hn::LoadU(hn::Rebind<int8_t, decltype(d)>(), keep + i));
    return op.select(hn::BitCast(d, kept), Stored::map([&op](auto v) HWY_ATTR { return op.kept(v); }, bits));
  };
  size_t i = 0;
  if (stream) {
    for (; i + N <= n; i += N) half::stream_stored(result(i, hn::LoadU(d, &x[i].bits)), d, &y[i].bits);
  } else {
    for (; i + N <= n; i += N) hn::StoreU(result(i, hn::LoadU(d, &x[i].bits)), d, &y[i].bits);
  }
  if (i < n) store_partial(result(i, load_partial(d, &x[i].bits, n - i)), d, &y[i].bits, n - i);
}

// A vector, as it lies in memory, of one number.
template <class T>
HWY_INLINE auto of_all(Lane<T> number) {
  const auto v = hn::Set(Tag<Lane<T>>(), number);
  if constexpr (sizeof(T) == sizeof(Lane<T>)) {
    return v;
  } else {
    using Stored = half::Stored<T>;
    return Stored::map([v](auto) HWY_ATTR { return v; }, hn::Zero(typename Stored::D()));
  }
}

// What happens to an element: a select, so that a dropped NaN or Inf leaves nothing behind.
template <class T>
struct Scaled {
  using D = Tag<Lane<T>>;
  HWY_INLINE explicit Scaled(const KeepMap& m) : scale(hn::Set(D(), static_cast<Lane<T>>(m.scale))) {}
  HWY_INLINE V<D> operator()(V<D> keep, V<D> x) const { return select(keep, kept(x)); }
  HWY_INLINE V<D> kept(V<D> x) const { return hn::Mul(x, scale); }
  template <class Vec>
  HWY_INLINE Vec select(Vec keep, Vec y) const {
    return hn::And(keep, y);
  }
  V<D> scale;
};

template <class T>
struct Shifted {
  using D = Tag<Lane<T>>;
  HWY_INLINE explicit Shifted(const KeepMap& m)
      : scale(hn::Set(D(), static_cast<Lane<T>>(m.scale))),
        shift(hn::Set(D(), static_cast<Lane<T>>(m.shift))),
        dropped(of_all<T>(static_cast<Lane<T>>(m.dropped))) {}
  HWY_INLINE V<D> operator()(V<D> keep, V<D> x) const { return select(keep, kept(x)); }
  HWY_INLINE V<D> kept(V<D> x) const { return hn::Add(hn::Mul(x, scale), shift); }
  template <class Vec>
  HWY_INLINE Vec select(Vec keep, Vec y) const {
    return hn::IfThenElse(hn::MaskFromVec(keep), y, dropped);
  }
  V<D> scale, shift;
  decltype(of_all<T>(0)) dropped;
};

template <class T>
HWY_INLINE void prefetch(const T* x, size_t n) {
  for (size_t j = 0; j < n; j += kCacheLine / sizeof(T)) __builtin_prefetch(x + j, 0, 2);
}

// The decisions for elements of a stream, at most kMostDecided at a time; −1 is kept.
class Decisions {
 public:
  HWY_INLINE explicit Decisions(const Bernoulli& mask)
      : philox_(mask.source), threshold_(mask.keep), decided_(mask.decided) {
    if (mask.certain() && decided_ == nullptr) memset(keep_, mask.keep == 0 ? 0 : -1, sizeof(keep_));
  }
  // Those of element `first` and the next n − 1; whole vectors may be read behind them. The data of a later
  // chunk travel to the L2 cache while the bits of this one are made, a few lines at a time.
  template <class... T>
  HWY_INLINE const int8_t* operator()(uint64_t first, size_t n, const T*... data) {
    if (decided_ != nullptr) return decided_ + first;
    if (threshold_ == 0 || threshold_ == kCertain) return keep_;
    const size_t inside = first % kGroupBytes;
    keep_bytes(philox_, first - inside, inside + n, threshold_, keep_,
               [=]([[maybe_unused]] size_t i, [[maybe_unused]] size_t k)
                   HWY_ATTR { (prefetch(data + i + k * kPauseBytes + kFetchAhead, kPauseBytes), ...); });
    return keep_ + inside;
  }
  // keep[0..n): the same for a `first` that is a multiple of kGroupBytes, where the caller wants them;
  // kGroupBytes − 1 more are written.
  template <class Meanwhile>
  HWY_INLINE void into(uint64_t first, size_t n, int8_t* keep, Meanwhile meanwhile) {
    if (threshold_ == 0 || threshold_ == kCertain) {
      memset(keep, threshold_ == 0 ? 0 : -1, n);
    } else {
      keep_bytes(philox_, first, n, threshold_, keep, meanwhile);
    }
  }

 private:
  const Philox philox_;
  const uint64_t threshold_;
  const int8_t* const decided_;
  HWY_ALIGN int8_t keep_[kMaxDecided + 64];  // and the vector that reads past the end
};

// Calls body(at, length, stream) for the chunks of [0, n), for a y that is written around the cache if
// `stream`: the first chunk then ends where y is aligned.
template <class T, class Body>
HWY_INLINE void for_chunks(size_t n, const T* y, bool stream, Body body) {
  const size_t bytes = hn::Lanes(Tag<T>()) * sizeof(T);
  for (size_t at = 0; at < n;) {
    size_t chunk = HWY_MIN(n - at, kDropoutChunk);
    const size_t past = reinterpret_cast<uintptr_t>(y + at) % bytes;
    const bool aligned = stream && past == 0;
    if (stream && !aligned) chunk = HWY_MIN(chunk, (bytes - past) / sizeof(T));
    body(at, chunk, aligned);
    at += chunk;
  }
  if (stream) hwy::FlushStream();
}

// Calls apply(begin, i, count, keep, stream) for elements begin + i ... begin + i + count − 1 until all of
// [0, n) are done; keep[0] belongs to the first. Deciding is arithmetic and applying memory, so those of one
// chunk are applied while those of the next are decided, some between two rounds: one after the other took
// 1.5 times as long. All but the first begin where y is aligned to vectors. `data` is what apply reads.
template <class T, class Apply, class... In>
HWY_INLINE void for_decided(size_t n, const Bernoulli& mask, uint64_t first, const T* y, bool stream,
                            Apply apply, const In*... data) {
  constexpr size_t kVector = hn::MaxLanes(Tag<uint8_t>()) / sizeof(T);
  const size_t most = n < 8 * kMostDecided ? kDropoutChunk : kMostDecided;
  const size_t past = reinterpret_cast<uintptr_t>(y) % (kVector * sizeof(T)) / sizeof(T);
  const size_t head = HWY_MIN(n, (kVector - past) % kVector);
  // Any piece of elements, the first of them aligned but for the first of all.
  const auto piece = [&](size_t begin, size_t count, const int8_t* keep) HWY_ATTR {
    const size_t before = begin == 0 ? HWY_MIN(head, count) : 0;
    if (before != 0) apply(begin, size_t{0}, before, keep, false);
    if (before != count) apply(begin, before, count - before, keep + before, stream);
  };
  if (mask.decided != nullptr) return piece(0, n, mask.decided + first);
  // In front of the decisions of a chunk stand those of the elements before it that wait for it, since they
  // begin the vector that ends in it.
  constexpr size_t kBefore = 64;
  HWY_ALIGN int8_t keep[2][kBefore + kMaxDecided + 64];
  if (mask.certain()) {
    memset(keep[0], mask.keep == 0 ? 0 : -1, HWY_MIN(n, kMostDecided) + 64);
    for (size_t at = 0, count; at < n; at += count) {
      count = HWY_MIN(n - at, kMostDecided - (at == 0 ? (kVector - head) % kVector : 0));
      piece(at, count, keep[0]);
    }
    return;
  }
  const Philox philox(mask.source);
  const size_t inside = first % kGroupBytes;
  // Chunk [decided, end) has its decisions at now; elements from `applied` on are not yet done.
  size_t end = HWY_MIN(n, most - inside), applied = 0;
  const int8_t* now = keep[0] + kBefore + inside;
  size_t decided = 0;
  keep_bytes(philox, first - inside, inside + end, mask.keep, keep[0] + kBefore,
             [](size_t, size_t) HWY_ATTR {});
  for (int k = 1; end < n; k ^= 1) {
    const size_t next = HWY_MIN(n - end, most);
    const size_t wait = (end - head) % kVector;  // end >= head: a first chunk is longer than a vector
    memcpy(keep[k], now + (end - decided) - kBefore, kBefore);
    const size_t count = end - wait - applied;
    const int8_t* from = now - (decided - applied);
    const auto decide = [&](auto meanwhile) HWY_ATTR {
      keep_bytes(philox, first + end, next, mask.keep, keep[k] + kBefore, meanwhile);
    };
    if (count == most && next == most) {
      decide([&](size_t group, size_t pause) HWY_ATTR {
        const size_t i = group + pause * kPauseBytes;
        (prefetch(data + applied + i + kFetchAhead, kPauseBytes), ...);
        apply(applied, i, kPauseBytes, from + i, stream);
      });
    } else {
      decide([](size_t, size_t) HWY_ATTR {});
      piece(applied, count, from);
    }
    applied += count;
    decided = end;
    end += next;
    now = keep[k] + kBefore;
  }
  piece(applied, n - applied, now - (decided - applied));
}

// y = op(kept, x...) for elements first, first + 1, ... of the mask.
template <class T, class Op, class... In>
HWY_INLINE void map_random(size_t n, const Bernoulli& mask, uint64_t first, bool stream, Op op, T* y,
                           const In*... x) {
  const auto apply = [=](size_t begin, size_t i, size_t count, const int8_t* keep, bool around)
                         HWY_ATTR { map_kept(count, keep, around, op, y + begin + i, (x + begin + i)...); };
  for_decided(n, mask, first, y, stream, apply, x...);
}

template <class T>
void dropout(const T* x, T* y, size_t n, const Bernoulli& mask, uint64_t first, const KeepMap& m,
             bool stream) {
  if (m.plain()) {
    map_random(n, mask, first, stream, Scaled<T>(m), y, x);
  } else {
    map_random(n, mask, first, stream, Shifted<T>(m), y, x);
  }
}

// The same with the mask given as bytes, 0 where dropped.
template <class T>
void dropout_by_bytes(const T* x, T* y, size_t n, const uint8_t* kept, const KeepMap& m, bool stream) {
  HWY_ALIGN int8_t keep[kDropoutChunk + 64];
  const auto run = [&](auto op) HWY_ATTR {
    for_chunks(n, y, stream, [&](size_t at, size_t chunk, bool around_cache) HWY_ATTR {
      for (size_t j = 0; j < chunk; ++j) keep[j] = kept[at + j] != 0 ? -1 : 0;
      map_kept(chunk, keep, around_cache, op, y + at, x + at);
    });
  };
  if (m.plain()) {
    run(Scaled<T>(m));
  } else {
    run(Shifted<T>(m));
  }
}

// keep[0..n) = −1 where a bit is 1, else 0; the low bit of a byte comes first. n is at most
// kDropoutChunk + 8.
constexpr size_t kUnpackedBytes = kDropoutChunk + 8 + 128;
HWY_INLINE void unpack_bits(const uint8_t* bits, size_t n, int8_t* keep) {
  const DI8 d;
  uint8_t local[kUnpackedBytes / 8];  // vectors of bits may end behind the mask
  memset(local + n / 8, 0, sizeof(local) - n / 8);
  memcpy(local, bits, (n + 7) / 8);
  for (size_t j = 0; j < n; j += hn::Lanes(d)) {
    hn::Store(hn::VecFromMask(d, hn::LoadMaskBits(d, local + j / 8)), d, keep + j);
  }
}

// The same with the mask given as bits: element first + i is bit (first + i) mod 8 of byte (first + i) div 8.
template <class T>
void dropout_by_bits(const T* x, T* y, size_t n, const uint8_t* bits, uint64_t first, const KeepMap& m,
                     bool stream) {
  HWY_ALIGN int8_t keep[kUnpackedBytes];
  const auto run = [&](auto op) HWY_ATTR {
    for_chunks(n, y, stream, [&](size_t at, size_t chunk, bool around_cache) HWY_ATTR {
      const uint64_t i = first + at, inside = i % 8;
      unpack_bits(bits + i / 8, inside + chunk, keep);
      map_kept(chunk, keep + inside, around_cache, op, y + at, x + at);
    });
  };
  if (m.plain()) {
    run(Scaled<T>(m));
  } else {
    run(Shifted<T>(m));
  }
}

// y = x·scale + shift: a run of elements that are all kept.
template <class T>
void keep_all(const T* x, T* y, size_t n, const KeepMap& m, bool stream) {
  const Tag<T> d;
  const auto scale = hn::Set(d, static_cast<T>(m.scale)), shift = hn::Set(d, static_cast<T>(m.shift));
  if (m.plain()) {
    map(d, n, stream, [=](auto v) HWY_ATTR { return hn::Mul(v, scale); }, y, x);
  } else {
    map(d, n, stream, [=](auto v) HWY_ATTR { return hn::Add(hn::Mul(v, scale), shift); }, y, x);
  }
}

// y = x·(1 + sigma·normal); y may be x itself.
template <class T>
void gaussian_dropout(const T* x, T* y, size_t n, Stream source, uint64_t first, T sigma, bool stream) {
  const Tag<T> d;
  const Philox philox(source);
  random::RandomBits bits;
  HWY_ALIGN T numbers[random::kRandomChunk];
  const auto one = hn::Set(d, T(1)), s = hn::Set(d, sigma);
  const auto op = [&](auto v, auto number) HWY_ATTR { return hn::Mul(v, hn::Add(one, hn::Mul(s, number))); };
  while (n != 0) {
    const size_t chunk = HWY_MIN(n, random::kRandomChunk);
    bits.draw(philox, first, chunk, sizeof(T) == 8);
    random::normal_chunk(bits, chunk, numbers);
    map(d, chunk, stream, op, y, x, static_cast<const T*>(numbers));
    x += chunk;
    first += chunk;
    y += chunk;
    n -= chunk;
  }
}

// kept[0..n) = 1 or 0.
inline void keep_mask(const Bernoulli& mask, uint64_t first, size_t n, uint8_t* kept) {
  Decisions decide(mask);
  for (size_t i = 0; i < n; i += kDropoutChunk) {
    const size_t chunk = HWY_MIN(n - i, kDropoutChunk);
    const int8_t* keep = decide(first + i, chunk);
    for (size_t j = 0; j < chunk; ++j) kept[i + j] = keep[j] & 1;
  }
}

// bits[0 .. ceil(n/8)): the same, eight to a byte, low bit first, zeros behind the last.
inline void keep_bits(const Bernoulli& mask, uint64_t first, size_t n, uint8_t* bits) {
  Decisions decide(mask);
  HWY_ALIGN int8_t keep[kDropoutChunk];
  HWY_ALIGN uint8_t packed[kDropoutChunk / 8 + 8];
  const DI8 d;
  const size_t N = hn::Lanes(d);
  for (size_t i = 0; i < n; i += kDropoutChunk) {
    const size_t chunk = HWY_MIN(n - i, kDropoutChunk);
    memcpy(keep, decide(first + i, chunk), chunk);
    memset(keep + chunk, 0, kDropoutChunk - chunk);
    for (size_t j = 0; j < chunk; j += N)
      hn::StoreMaskBits(d, hn::MaskFromVec(hn::Load(d, keep + j)), packed + j / 8);
    memcpy(bits + i / 8, packed, (chunk + 7) / 8);
  }
}

}  // namespace dropout
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_DROPOUT_INL_H_
