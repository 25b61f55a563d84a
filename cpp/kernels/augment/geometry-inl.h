// Moves of pixels: index maps, layouts, and the step to float32.

#if defined(REGKERN_KERNELS_AUGMENT_GEOMETRY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_AUGMENT_GEOMETRY_INL_H_
#undef REGKERN_KERNELS_AUGMENT_GEOMETRY_INL_H_
#else
#define REGKERN_KERNELS_AUGMENT_GEOMETRY_INL_H_
#endif

#include "kernels/augment/geometry.h"
#include "kernels/augment/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace augment {

using regkern::augment::Axis;
using regkern::augment::GeometryTable;
using regkern::augment::kOutside;
using regkern::augment::Maps;

using Block8 = hn::Full128<uint8_t>;
using Block32 = hn::Full128<float>;

template <class T>
HWY_INLINE bool is_interleaved(const Picture<T>& p) {
  return p.channel_stride == 1 && p.pixel_stride == p.channels;
}

// --- index maps: the same for all types, pixels are so many bytes ---

// A number of bytes that is known to the compiler for the usual pixels (kBytes), any other else (0).
template <size_t kBytes>
struct Pixels {
  HWY_INLINE explicit Pixels(size_t n) : runtime(n) {}
  HWY_INLINE size_t size() const { return kBytes != 0 ? kBytes : runtime; }
  HWY_INLINE void move(const uint8_t* from, uint8_t* to) const {
    if constexpr (kBytes != 0) {
      memcpy(to, from, kBytes);
    } else {
      memcpy(to, from, runtime);
    }
  }
  size_t runtime;
};

// Orders of 64 bytes that turn pixels of three bytes around. first: 21 pixels behind a byte of another one.
// last: of the byte before the last 21 pixels of a row, and of these, from the row's first 64 bytes and from
// the 64 two bytes further.
struct WideOrder {
  constexpr WideOrder() : first{}, last{} {
    for (size_t k = 0; k < 63; ++k) {
      const size_t from = (20 - k / 3) * 3 + k % 3;
      first[k] = static_cast<uint8_t>(1 + from);
      last[k + 1] = static_cast<uint8_t>(from);
    }
    last[0] = 64 + 63;
  }
  uint8_t first[64], last[64];
};

// to[i] = from[n − 1 − i]
template <size_t kBytes>
HWY_INLINE void reverse(const Pixels<kBytes>& pixels, const uint8_t* from, uint8_t* to, size_t n) {
  size_t i = 0;
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL
  if constexpr (kBytes == 3) {
    // As below, in blocks of 64 bytes; the last one of a short row ends with it.
    constexpr size_t kStep = 21, kShort = 128;
    const Tag<uint8_t> d;
    alignas(64) static constexpr WideOrder kOrder;
    const auto first = hn::Load(d, kOrder.first);
    for (; i + kStep + 1 <= n; i += kStep) {
      const auto v = hn::LoadU(d, from + (n - kStep - i) * 3 - 1);
      hn::StoreU(decltype(v){_mm512_permutexvar_epi8(first.raw, v.raw)}, d, to + i * 3);
    }
    if (i != 0 && n <= kShort) {
      const auto v = hn::LoadU(d, from), further = hn::LoadU(d, from + 2), last = hn::Load(d, kOrder.last);
      hn::StoreU(decltype(v){_mm512_permutex2var_epi8(v.raw, last.raw, further.raw)}, d, to + n * 3 - 64);
      return;
    }
  }
#endif
  if constexpr (kBytes == 1 || kBytes == 3) {
    // Blocks of 16 bytes: as many whole pixels as fit. Where a byte is left over it is the one in front of
    // the pixels, which belongs to another pixel, and lands where the next block will be.
    constexpr size_t kStep = 16 / kBytes, kLead = 16 % kBytes;
    const Block8 d;
    HWY_ALIGN uint8_t order[16];
    for (size_t k = 0; k < kStep * kBytes; ++k) {
      order[k] = static_cast<uint8_t>(kLead + (kStep - 1 - k / kBytes) * kBytes + k % kBytes);
    }
    if (kLead != 0) order[15] = 0;
    const auto indices = hn::Load(d, order);
    for (; i + kStep + (kLead != 0) <= n; i += kStep) {
      const auto v = hn::LoadU(d, from + (n - kStep - i) * kBytes - kLead);
      hn::StoreU(hn::TableLookupBytes(v, indices), d, to + i * kBytes);
    }
  } else if constexpr (kBytes == 4) {
    const Tag<uint32_t> d;
    const Tag<uint8_t> bytes;
    const size_t N = hn::Lanes(d);
    for (; i + N <= n; i += N) {
      const auto v = hn::BitCast(d, hn::LoadU(bytes, from + (n - N - i) * 4));
      hn::StoreU(hn::BitCast(bytes, hn::Reverse(d, v)), bytes, to + i * 4);
    }
  }
  for (; i < n; ++i) pixels.move(from + (n - 1 - i) * pixels.size(), to + i * pixels.size());
}

template <size_t kBytes>
HWY_INLINE void fill_pixels(const Pixels<kBytes>& pixels, const uint8_t* fill, uint8_t* to, size_t n) {
  for (size_t i = 0; i < n; ++i) pixels.move(fill, to + i * pixels.size());
}

// A row of nothing but the fill, from which borders are copied in one piece: short rows only.
struct FillLine {
  static constexpr size_t kMost = 2048;

  template <size_t kBytes>
  HWY_INLINE FillLine(const Pixels<kBytes>& pixels, const uint8_t* fill, size_t width)
      : size(width * pixels.size()) {
    bool same = true;
    for (size_t k = 1; k < pixels.size(); ++k) same = same && fill[k] == fill[0];
    if (same) {
      const Tag<uint8_t> d;
      const auto v = hn::Set(d, fill[0]);
      for (size_t i = 0; i < size; i += hn::Lanes(d)) hn::Store(v, d, bytes + i);
    } else {
      fill_pixels(pixels, fill, bytes, width);
    }
  }
  HWY_INLINE void row(uint8_t* to) const { copy_bytes(bytes, to, size); }
  // The first `left` bytes and those from `right` on; may write all others too.
  HWY_INLINE void sides(uint8_t* to, size_t left, size_t right) const {
    const Tag<uint8_t> d;
    const size_t N = hn::Lanes(d);
    if (size < N || left > N || size - right > N) return row(to);
    hn::StoreU(hn::Load(d, bytes), d, to);
    hn::StoreU(hn::LoadU(d, bytes + size - N), d, to + size - N);
  }

  HWY_ALIGN uint8_t bytes[kMost];
  size_t size;
};

// Whether all that lies beyond the run is the fill.
HWY_INLINE bool only_outside(const Axis& axis) {
  for (ptrdiff_t i = 0; i < axis.begin; ++i) {
    if (axis.map[i] != kOutside) return false;
  }
  for (ptrdiff_t i = axis.end; i < axis.length; ++i) {
    if (axis.map[i] != kOutside) return false;
  }
  return true;
}

HWY_INLINE ptrdiff_t from(const Axis& axis, ptrdiff_t i) {
  return i >= axis.begin && i < axis.end ? axis.first + axis.step * (i - axis.begin) : axis.map[i];
}

// Rows that are read against the grain come too late otherwise: the processor looks ahead in rising order.
constexpr ptrdiff_t kRowsAhead = 4;
HWY_INLINE void fetch_ahead(const uint8_t* p, ptrdiff_t bytes) {
  for (ptrdiff_t i = 0; i < bytes; i += 64) hwy::Prefetch(p + i);
}

// The run of row r of the output, from a line of the source.
template <size_t kBytes>
HWY_INLINE void move_run(const uint8_t* x, ptrdiff_t x_stride, const uint8_t* line, const Maps& maps,
                         const Pixels<kBytes>& pixels, ptrdiff_t r, uint8_t* to) {
  const Axis& columns = maps.columns;
  const auto size = static_cast<ptrdiff_t>(pixels.size());
  const auto n = static_cast<size_t>(columns.end - columns.begin);
  if (columns.step == 1) {
    copy_bytes(line + columns.first * size, to + columns.begin * size, n * pixels.size());
  } else if (n != 0) {
    const ptrdiff_t ahead = r + kRowsAhead < maps.rows.length ? from(maps.rows, r + kRowsAhead) : kOutside;
    if (ahead != kOutside) fetch_ahead(x + ahead * x_stride, columns.length * size);
    reverse(pixels, line + (columns.first - static_cast<ptrdiff_t>(n) + 1) * size, to + columns.begin * size,
            n);
  }
}

// n bytes of a pattern at the same place of some rows, written as two numbers that overlap.
template <class W>
HWY_INLINE void fill_column_by(const uint8_t* pattern, size_t n, uint8_t* to, ptrdiff_t stride,
                               ptrdiff_t rows) {
  W first, last;
  memcpy(&first, pattern, sizeof(W));
  memcpy(&last, pattern + n - sizeof(W), sizeof(W));
  for (ptrdiff_t r = 0; r < rows; ++r, to += stride) {
    memcpy(to, &first, sizeof(W));
    memcpy(to + n - sizeof(W), &last, sizeof(W));
  }
}
HWY_INLINE void fill_column(const uint8_t* pattern, size_t n, uint8_t* to, ptrdiff_t stride, ptrdiff_t rows) {
  if (n >= 16) {
    for (ptrdiff_t r = 0; r < rows; ++r) copy_bytes(pattern, to + r * stride, n);
  } else if (n >= 8) {
    fill_column_by<uint64_t>(pattern, n, to, stride, rows);
  } else if (n >= 4) {
    fill_column_by<uint32_t>(pattern, n, to, stride, rows);
  } else if (n >= 2) {
    fill_column_by<uint16_t>(pattern, n, to, stride, rows);
  } else if (n == 1) {
    fill_column_by<uint8_t>(pattern, n, to, stride, rows);
  }
}

// A window of the width of an image, both of them without gaps, is the image moved through memory: one copy,
// over whose ends of rows the fill is then written. Only the fill lies beyond the runs.
inline void shift_plane(const uint8_t* x, const Maps& maps, ptrdiff_t size, const FillLine& line, ptrdiff_t y,
                        ptrdiff_t height, uint8_t* out) {
  const Axis &rows = maps.rows, &columns = maps.columns;
  const ptrdiff_t stride = columns.length * size, left = columns.begin * size, right = columns.end * size;
  const bool any = left < right;
  const ptrdiff_t begin = any ? HWY_MIN(HWY_MAX(rows.begin - y, 0), height) : height;
  const ptrdiff_t end = any ? HWY_MAX(HWY_MIN(rows.end - y, height), begin) : height;
  for (ptrdiff_t r = 0; r < begin; ++r) line.row(out + r * stride);
  if (begin < end) {
    const uint8_t* const from = x + (rows.first + y + begin - rows.begin) * stride + columns.first * size;
    copy_bytes(from, out + begin * stride + left,
               static_cast<size_t>((end - 1 - begin) * stride + right - left));
    uint8_t* const to = out + begin * stride;
    fill_column(line.bytes, static_cast<size_t>(left), to, stride, end - begin);
    fill_column(line.bytes + right, static_cast<size_t>(stride - right), to + right, stride, end - begin);
  }
  for (ptrdiff_t r = end; r < height; ++r) line.row(out + r * stride);
}

// Rows y … y + out.height of a plane, neither swapped nor with anything but the fill beyond the run of
// columns.
template <size_t kBytes>
void crop_plane(Plane<const uint8_t> x, const Maps& maps, const Pixels<kBytes>& pixels, const uint8_t* fill,
                ptrdiff_t y, Plane<uint8_t> out) {
  const Axis& columns = maps.columns;
  const auto size = static_cast<ptrdiff_t>(pixels.size());
  const FillLine line(pixels, fill, static_cast<size_t>(columns.length));
  const bool dense = x.stride == out.stride && out.stride == columns.length * size;
  if (dense && columns.step == 1 && maps.rows.step == 1 && only_outside(maps.rows)) {
    return shift_plane(x.data, maps, size, line, y, out.height, out.data);
  }
  const auto left = static_cast<size_t>(columns.begin * size),
             right = static_cast<size_t>(columns.end * size);
  const bool bordered = !columns.is_run();
  for (ptrdiff_t r = 0; r < out.height; ++r) {
    uint8_t* const to = out.data + r * out.stride;
    const ptrdiff_t source = from(maps.rows, y + r);
    if (source == kOutside) {
      line.row(to);
      continue;
    }
    if (bordered) line.sides(to, left, right);
    move_run(x.data, x.stride, x.data + source * x.stride, maps, pixels, y + r, to);
  }
}

// One plane of pixels: rows y … y + out.height of the output.
template <size_t kBytes>
void gather_plane(Plane<const uint8_t> x, const Maps& maps, const Pixels<kBytes>& pixels, const uint8_t* fill,
                  ptrdiff_t y, Plane<uint8_t> out) {
  const Axis& columns = maps.columns;
  const auto size = static_cast<ptrdiff_t>(pixels.size());
  const bool is_short = columns.length * size <= static_cast<ptrdiff_t>(FillLine::kMost);
  if (fill != nullptr && is_short && !maps.swapped && only_outside(columns)) {
    return crop_plane(x, maps, pixels, fill, y, out);
  }
  for (ptrdiff_t r = 0; r < out.height; ++r) {
    uint8_t* const to = out.data + r * out.stride;
    const ptrdiff_t source = from(maps.rows, y + r);
    if (source == kOutside) {
      fill_pixels(pixels, fill, to, static_cast<size_t>(columns.length));
      continue;
    }
    if (maps.swapped) {
      const uint8_t* const line = x.data + source * size;
      for (ptrdiff_t j = 0; j < columns.length; ++j) {
        const ptrdiff_t c = from(columns, j);
        pixels.move(c == kOutside ? fill : line + c * x.stride, to + j * size);
      }
      continue;
    }
    const uint8_t* const line = x.data + source * x.stride;
    const auto one_by_one = [&](ptrdiff_t begin, ptrdiff_t end) HWY_ATTR {
      for (ptrdiff_t j = begin; j < end; ++j) {
        const ptrdiff_t c = columns.map[j];
        pixels.move(c == kOutside ? fill : line + c * size, to + j * size);
      }
    };
    one_by_one(0, columns.begin);
    move_run(x.data, x.stride, line, maps, pixels, y + r, to);
    one_by_one(columns.end, columns.length);
  }
}

// Calls body(source, fill, output, pixels) in bytes: once where pixels are interleaved, else for each plane.
// What moves pixels need not know their type, only their size; the common sizes are known to the compiler.
template <class T, class Body>
HWY_INLINE void for_planes_of_bytes(Picture<const T> x, const T* fill, Picture<T> out, Body body) {
  const auto plane = [&](const T* from, const T* value, T* to, size_t elements) HWY_ATTR {
    const auto run = [&](auto pixels) HWY_ATTR {
      constexpr ptrdiff_t kSize = sizeof(T);
      body(Plane<const uint8_t>{reinterpret_cast<const uint8_t*>(from), x.row_stride * kSize, x.width,
                                x.height},
           reinterpret_cast<const uint8_t*>(value),
           Plane<uint8_t>{reinterpret_cast<uint8_t*>(to), out.row_stride * kSize, out.width, out.height},
           pixels);
    };
    const size_t bytes = elements * sizeof(T);
    switch (bytes) {
      case 1:
        return run(Pixels<1>(bytes));
      case 3:
        return run(Pixels<3>(bytes));
      case 4:
        return run(Pixels<4>(bytes));
      case 12:
        return run(Pixels<12>(bytes));
      default:
        return run(Pixels<0>(bytes));
    }
  };
  if (is_interleaved(out)) return plane(x.data, fill, out.data, static_cast<size_t>(x.channels));
  for (ptrdiff_t c = 0; c < x.channels; ++c) {
    plane(x.data + c * x.channel_stride, fill == nullptr ? nullptr : fill + c,
          out.data + c * out.channel_stride, 1);
  }
}

template <class T>
void gather_rows(Picture<const T> x, const Maps& maps, const T* fill, ptrdiff_t y, Picture<T> out) {
  for_planes_of_bytes(x, fill, out, [&](auto from, const uint8_t* value, auto to, auto pixels) HWY_ATTR {
    gather_plane(from, maps, pixels, value, y, to);
  });
}

// --- layouts ---

template <class T>
void copy_rows(Picture<const T> x, Picture<T> out, Streaming streaming) {
  join_rows(x, out);
  const bool stream = streaming.on && x.height == 1;  // lines that two rows share would be written twice
  const Tag<T> d;
  const bool packed = is_interleaved(x), out_packed = is_interleaved(out);
  for (ptrdiff_t y = 0; y < x.height; ++y) {
    const T* const p = x.data + y * x.row_stride;
    T* const q = out.data + y * out.row_stride;
    if (packed && out_packed) {
      const auto n = static_cast<size_t>(x.width * x.channels);
      if (stream) {
        stream_and_fetch(d, n, [](auto v) HWY_ATTR { return v; }, q, p, streaming.ahead);
      } else {
        copy_bytes(reinterpret_cast<const uint8_t*>(p), reinterpret_cast<uint8_t*>(q), n * sizeof(T));
      }
      continue;
    }
    const bool planar = x.pixel_stride == 1, out_planar = out.pixel_stride == 1;
    ptrdiff_t i = 0;
    if (x.channels == 3 && packed && out_planar) {
      const auto N = static_cast<ptrdiff_t>(hn::Lanes(d));
      for (; i + N <= x.width; i += N) {
        V<Tag<T>> v0, v1, v2;
        hn::LoadInterleaved3(d, p + 3 * i, v0, v1, v2);
        hn::StoreU(v0, d, q + i);
        hn::StoreU(v1, d, q + out.channel_stride + i);
        hn::StoreU(v2, d, q + 2 * out.channel_stride + i);
      }
    } else if (x.channels == 3 && planar && out_packed) {
      const auto N = static_cast<ptrdiff_t>(hn::Lanes(d));
      for (; i + N <= x.width; i += N) {
        hn::StoreInterleaved3(hn::LoadU(d, p + i), hn::LoadU(d, p + x.channel_stride + i),
                              hn::LoadU(d, p + 2 * x.channel_stride + i), d, q + 3 * i);
      }
    } else if (planar && out_planar) {
      for (ptrdiff_t c = 0; c < x.channels; ++c) {
        copy_bytes(reinterpret_cast<const uint8_t*>(p + c * x.channel_stride),
                   reinterpret_cast<uint8_t*>(q + c * out.channel_stride),
                   static_cast<size_t>(x.width) * sizeof(T));
      }
      continue;
    }
    for (; i < x.width; ++i) {
      for (ptrdiff_t c = 0; c < x.channels; ++c) {
        q[i * out.pixel_stride + c * out.channel_stride] = p[i * x.pixel_stride + c * x.channel_stride];
      }
    }
  }
}

// --- to float32 ---

// Where the bytes of each channel are: four bytes a pixel, of which three become 0, in blocks of four pixels
// that begin with a whole 32-bit word each. last: of a vector that ends with the pixels.
struct ColorOrder {
  constexpr ColorOrder() : spread{}, last_spread{}, bytes{} {
    for (size_t k = 0; k < kPixels; ++k) {
      spread[k] = static_cast<uint32_t>(k % 4 == 3 ? 0 : k / 4 * 3 + k % 4);
      last_spread[k] = spread[k] + kPixels / 4;
      for (size_t c = 0; c < 3; ++c) {
        for (size_t b = 0; b < 4; ++b) {
          bytes[c][4 * k + b] = static_cast<uint8_t>(b == 0 ? 3 * (k % 4) + c : 0x80);
        }
      }
    }
  }
  static constexpr size_t kPixels = hn::MaxLanes(DF());
  uint32_t spread[kPixels], last_spread[kPixels];
  uint8_t bytes[3][4 * kPixels];
};

// The three channels of Lanes(DF) interleaved pixels. Bytes are read a quarter more than they have: what lies
// behind them, or before the last ones of a row.
struct Deinterleave3 {
  HWY_INLINE Deinterleave3() {
    static constexpr ColorOrder kOrder;  // made for every row it would take as long as 30 pixels
    const hn::RebindToUnsigned<DF> du;
    blocks = hn::SetTableIndices(du, kOrder.spread);
    last_blocks = hn::SetTableIndices(du, kOrder.last_spread);
    for (size_t c = 0; c < 3; ++c) channels[c] = hn::LoadU(hn::Repartition<uint8_t, DF>(), kOrder.bytes[c]);
  }
  HWY_INLINE void operator()(const uint8_t* p, V<DF>& v0, V<DF>& v1, V<DF>& v2) const {
    split(p, blocks, v0, v1, v2);
  }
  HWY_INLINE void last(const uint8_t* p, V<DF>& v0, V<DF>& v1, V<DF>& v2) const {
    split(p - hn::Lanes(DF()), last_blocks, v0, v1, v2);
  }

 private:
  using Blocks = decltype(hn::SetTableIndices(hn::RebindToUnsigned<DF>(), ColorOrder().spread));
  HWY_INLINE void split(const uint8_t* p, Blocks from, V<DF>& v0, V<DF>& v1, V<DF>& v2) const {
    const DF d;
    const hn::RebindToSigned<DF> di;
    const hn::RebindToUnsigned<DF> du;
    const hn::Repartition<uint8_t, DF> d8;
    const auto wide = hn::BitCast(d8, hn::TableLookupLanes(hn::BitCast(du, hn::LoadU(d8, p)), from));
    v0 = hn::ConvertTo(d, hn::BitCast(di, hn::TableLookupBytesOr0(wide, channels[0])));
    v1 = hn::ConvertTo(d, hn::BitCast(di, hn::TableLookupBytesOr0(wide, channels[1])));
    v2 = hn::ConvertTo(d, hn::BitCast(di, hn::TableLookupBytesOr0(wide, channels[2])));
  }
  Blocks blocks, last_blocks;
  V<hn::Repartition<uint8_t, DF>> channels[3];
};
struct DeinterleaveFloats3 {
  HWY_INLINE void operator()(const float* p, V<DF>& v0, V<DF>& v1, V<DF>& v2) const {
    hn::LoadInterleaved3(DF(), p, v0, v1, v2);
  }
  HWY_INLINE void last(const float* p, V<DF>& v0, V<DF>& v1, V<DF>& v2) const { (*this)(p, v0, v1, v2); }
};

HWY_INLINE bool begins_line(const void* p) { return reinterpret_cast<uintptr_t>(p) % 64 == 0; }

// Calls body with the store to use from here on.
template <class Body>
HWY_INLINE void with_store(bool stream, Body body) {
  const DF d;
  if (stream) {
    body([d](V<DF> v, float* to) HWY_ATTR { hn::Stream(v, d, to); });
  } else {
    body([d](V<DF> v, float* to) HWY_ATTR { hn::StoreU(v, d, to); });
  }
}

// Numbers from which on it pays to begin with single ones up to a line: stores across two lines take as long
// as two.
constexpr size_t kWorthAligning = 1024;

// One channel: n neighbours.
template <class T>
HWY_INLINE void normalize_plane(const T* p, float scale, float bias, float* q, size_t n, bool stream) {
  const DF d;
  const size_t N = hn::Lanes(d);
  const auto s = hn::Set(d, scale), b = hn::Set(d, bias);
  size_t i = 0;
  const auto pixel = [&]() HWY_ATTR {
    q[i] = static_cast<float>(p[i]) * scale + bias;
    ++i;
  };
  while ((stream || n >= kWorthAligning) && i < n && !begins_line(q + i)) pixel();
  with_store(stream, [&](auto store) HWY_ATTR {
    for (; i + N <= n; i += N) store(hn::Add(hn::Mul(load_float(d, p + i), s), b), q + i);
  });
  while (i < n) pixel();
}

// Interleaved pixels as they are: scale and bias repeat with a period of C numbers.
template <class T>
HWY_INLINE void normalize_packed(const T* p, const float* scale, const float* bias, float* q, size_t width,
                                 size_t channels, bool stream) {
  const DF d;
  const size_t N = hn::Lanes(d), n = width * channels;
  size_t i = 0;
  const auto pixel = [&]() HWY_ATTR {
    for (size_t c = 0; c < channels; ++c) q[i + c] = static_cast<float>(p[i + c]) * scale[c] + bias[c];
    i += channels;
  };
  while ((stream || n >= kWorthAligning) && i < n && !begins_line(q + i)) pixel();
  constexpr size_t kMost = 8;  // channels whose pattern is worth making
  if (channels <= kMost && n >= channels * N) {
    HWY_ALIGN float scales[kMost * hn::MaxLanes(d)], biases[kMost * hn::MaxLanes(d)];
    for (size_t k = 0; k < channels * N; ++k) {
      scales[k] = scale[k % channels];
      biases[k] = bias[k % channels];
    }
    with_store(stream, [&](auto store) HWY_ATTR {
      for (; i + channels * N <= n; i += channels * N) {
        for (size_t k = 0; k < channels * N; k += N) {
          const auto v = hn::Mul(load_float(d, p + i + k), hn::Load(d, scales + k));
          store(hn::Add(v, hn::Load(d, biases + k)), q + i + k);
        }
      }
    });
  }
  while (i < n) pixel();
}

// Three channels, interleaved, to planes of their own.
template <class T>
HWY_INLINE void normalize_3_to_planes(const T* p, const float* scale, const float* bias, float* q,
                                      ptrdiff_t plane, size_t n, bool stream, const void* ahead) {
  const DF d;
  const size_t N = hn::Lanes(d);
  constexpr size_t kReach = sizeof(T) == 1 ? 4 : 3;  // elements a pixel that a load reads
  const auto s0 = hn::Set(d, scale[0]), s1 = hn::Set(d, scale[1]), s2 = hn::Set(d, scale[2]);
  const auto b0 = hn::Set(d, bias[0]), b1 = hn::Set(d, bias[1]), b2 = hn::Set(d, bias[2]);
  float *q0 = q, *q1 = q + plane, *q2 = q + 2 * plane;
  const std::conditional_t<sizeof(T) == 1, Deinterleave3, DeinterleaveFloats3> load;
  size_t i = 0;
  const auto pixels_until = [&](size_t end) HWY_ATTR {
    for (; i < end; ++i) {
      q0[i] = static_cast<float>(p[3 * i]) * scale[0] + bias[0];
      q1[i] = static_cast<float>(p[3 * i + 1]) * scale[1] + bias[1];
      q2[i] = static_cast<float>(p[3 * i + 2]) * scale[2] + bias[2];
    }
  };
  if (n < 2 * N) return pixels_until(n);
  const auto store_at = [&](size_t k, V<DF> v0, V<DF> v1, V<DF> v2, auto store) HWY_ATTR {
    store(hn::Add(hn::Mul(v0, s0), b0), q0 + k);
    store(hn::Add(hn::Mul(v1, s1), b1), q1 + k);
    store(hn::Add(hn::Mul(v2, s2), b2), q2 + k);
  };
  V<DF> v0, v1, v2;
  const auto plain = [d](V<DF> v, float* to) HWY_ATTR { hn::StoreU(v, d, to); };
  // Only planes that begin at the same place in a line can all be streamed to.
  stream = stream && plane % 16 == 0;
  if (stream) {
    while (i < n && !begins_line(q0 + i)) pixels_until(i + 1);
  } else if (const size_t past = reinterpret_cast<uintptr_t>(q0) / sizeof(float) % N; past != 0) {
    // From the first whole vector of q's own on: one across two lines is stored twice.
    load(p, v0, v1, v2);
    store_at(0, v0, v1, v2, plain);
    i = N - past;
  }
  const bool fetch = stream && ahead != nullptr;
  const auto from = reinterpret_cast<uintptr_t>(ahead);
  with_store(stream, [&](auto store) HWY_ATTR {
    for (; 3 * i + kReach * N <= 3 * n; i += N) {
      if (fetch) fetch_to_second(from + 3 * i * sizeof(T));
      load(p + 3 * i, v0, v1, v2);
      store_at(i, v0, v1, v2, store);
    }
    for (; i + N <= n; i += N) {
      load.last(p + 3 * i, v0, v1, v2);
      store_at(i, v0, v1, v2, store);
    }
  });
  if (stream) return pixels_until(n);
  if (i == n) return;
  load.last(p + 3 * (n - N), v0, v1, v2);
  store_at(n - N, v0, v1, v2, plain);
}

template <class T>
void normalize_rows(Picture<const T> x, const float* scale, const float* bias, Picture<float> out,
                    Streaming streaming) {
  join_rows(x, out);
  const bool stream = streaming.on;
  const bool packed = is_interleaved(x), out_packed = is_interleaved(out);
  const auto width = static_cast<size_t>(x.width), channels = static_cast<size_t>(x.channels);
  for (ptrdiff_t y = 0; y < x.height; ++y) {
    const T* const p = x.data + y * x.row_stride;
    float* const q = out.data + y * out.row_stride;
    if (packed && out_packed) {
      normalize_packed(p, scale, bias, q, width, channels, stream);
    } else if (x.pixel_stride == 1 && out.pixel_stride == 1) {
      for (ptrdiff_t c = 0; c < x.channels; ++c) {
        normalize_plane(p + c * x.channel_stride, scale[c], bias[c], q + c * out.channel_stride, width,
                        stream);
      }
    } else if (channels == 3 && packed && out.pixel_stride == 1) {
      normalize_3_to_planes(p, scale, bias, q, out.channel_stride, width, stream,
                            x.height == 1 ? streaming.ahead : nullptr);
    } else {
      for (ptrdiff_t i = 0; i < x.width; ++i) {
        for (ptrdiff_t c = 0; c < x.channels; ++c) {
          q[i * out.pixel_stride + c * out.channel_stride] =
              static_cast<float>(p[i * x.pixel_stride + c * x.channel_stride]) * scale[c] + bias[c];
        }
      }
    }
  }
}

}  // namespace augment
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_AUGMENT_GEOMETRY_INL_H_
