// Arrays seen as channels: how they are walked, and how the work on them is cut.
//
// Planar: the elements of a channel are rows of `inner` neighbours (NCHW). Columns: channels lie beside each
// other, or nearly so (NHWC, matrices, and NCHW with few positions). Both grids depend on the shape alone,
// never on strides, threads or vectors.

#ifndef REGKERN_CORE_CHANNELS_H_
#define REGKERN_CORE_CHANNELS_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>
#include <type_traits>

#include "core/streaming.h"
#include "core/strided.h"
#include "core/threading.h"
#include "kernels/norm/norm.h"
#include "regkern/norm.h"

namespace regkern {

// --- planar ---

inline constexpr std::size_t kLeaf = 4096;  // elements of one channel: 16 or 32 KiB

// A piece of a pass: columns [col, col + cols) of row `row` of a channel; of `rows` neighbouring channels,
// where whole rows are taken together.
struct Line {
  std::size_t channel, row, col, rows, cols;
  std::size_t size() const { return rows * cols; }
};

// Whether a walk passes through numbers of two bytes without gaps.
inline bool is_packed(const Strided& walk, const void* data) {
  if (walk.storage == Storage::kNative) return false;
  std::ptrdiff_t step = sizeof(std::uint16_t);
  if (reinterpret_cast<std::uintptr_t>(data) % sizeof(std::uint16_t) != 0) return false;
  for (int i = walk.ndim - 1; i >= 0; --i) {
    if (walk.strides[i] != step && walk.dims[i] != 1) return false;
    step *= static_cast<std::ptrdiff_t>(walk.dims[i]);
  }
  return true;
}

// The type of numbers of two bytes at the address of a T.
template <class T>
using HalfOf = std::conditional_t<std::is_const_v<T>, const std::uint16_t, std::uint16_t>;

// An operand as channels of positions: position p is element p of the channel in C order of the other axes.
template <class T>
class Planes {
 public:
  Planes(const ChannelShape& s, T* data, const OperandLayout& layout) : data_(data), inner_(s.inner) {
    const std::ptrdiff_t* const strides = layout.strides;
    channel_stride_ = static_cast<std::ptrdiff_t>(s.inner * sizeof(T));
    row_stride_ = static_cast<std::ptrdiff_t>(s.channels * s.inner);
    if (strides == nullptr) return;
    if (layout.storage != Storage::kNative) {
      packed_ = is_packed(make_walk<1>(s.shape, Order::kC, {layout}, sizeof(T))[0], data);
    }
    channel_stride_ = strides[s.axis];
    std::array<std::ptrdiff_t, kMaxDims> dims, steps;
    int ndim = 0;
    for (int i = 0; i < s.shape.ndim; ++i) {
      if (i == s.axis) continue;
      dims[ndim] = s.shape.dims[i];
      steps[ndim++] = strides[i];
    }
    walk_ = make_walk<1>(Extents(ndim, dims.data()), Order::kC, {OperandLayout(steps.data(), layout.storage)},
                         sizeof(T))[0];
    dense_ = false;
  }

  // n positions of channel c from row r, column j on: where they lie if the memory is dense rows (then n may
  // span rows, row_stride apart), else in `buffer`.
  const T* load(std::size_t c, std::size_t r, std::size_t j, std::size_t n,
                std::remove_const_t<T>* buffer) const {
    if (dense_) return channel(c) + r * static_cast<std::size_t>(row_stride_) + j;
    walk_.gather(channel(c), r * inner_ + j, n, buffer);
    return buffer;
  }
  T* target(std::size_t c, std::size_t r, std::size_t j, T* buffer) const {
    return dense_ ? channel(c) + r * static_cast<std::size_t>(row_stride_) + j : buffer;
  }
  void store(std::size_t c, std::size_t r, std::size_t j, std::size_t n, const T* buffer) const {
    if (!dense_) walk_.scatter(buffer, channel(c), r * inner_ + j, n);
  }
  const T* load(const Line& l, std::remove_const_t<T>* buffer) const {
    return load(l.channel, l.row, l.col, l.cols, buffer);
  }
  T* target(const Line& l, T* buffer) const { return target(l.channel, l.row, l.col, buffer); }
  void store(const Line& l, const T* buffer) const { store(l.channel, l.row, l.col, l.cols, buffer); }
  T at(std::size_t c, std::size_t position) const {
    std::remove_const_t<T> value;
    const T* p = load(c, position / inner_, position % inner_, 1, &value);
    return *p;
  }
  bool dense() const { return dense_; }
  std::ptrdiff_t row_stride(std::size_t cols) const {
    return dense_ ? row_stride_ : static_cast<std::ptrdiff_t>(cols);
  }
  // Numbers of two bytes that lie as dense rows do.
  Storage packed() const { return packed_ ? walk_.storage : Storage::kNative; }
  HalfOf<T>* halves(std::size_t c, std::size_t r, std::size_t j) const {
    return reinterpret_cast<HalfOf<T>*>(channel(c)) + r * static_cast<std::size_t>(row_stride_) + j;
  }
  HalfOf<T>* halves(const Line& l) const { return halves(l.channel, l.row, l.col); }
  RowsOf<std::uint16_t> half_rows(std::size_t c, std::size_t r, std::size_t j) const {
    return {halves(c, r, j), row_stride_};
  }

 private:
  using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
  T* channel(std::size_t c) const {
    return reinterpret_cast<T*>(reinterpret_cast<Byte*>(data_) +
                                static_cast<std::ptrdiff_t>(c) * channel_stride_);
  }
  T* data_;
  std::size_t inner_;
  std::ptrdiff_t channel_stride_, row_stride_;  // bytes; elements
  Strided walk_;
  bool dense_ = true, packed_ = false;
};

// Pieces of a channel: whole rows while they fit kLeaf, else parts of one row.
struct PlanarGrid {
  explicit PlanarGrid(const ChannelShape& s) : outer(s.outer), inner(s.inner) {
    if (inner > kLeaf) {
      const std::size_t parts = (inner + kLeaf - 1) / kLeaf;
      cols = ((inner + parts - 1) / parts + kSumGrain - 1) / kSumGrain * kSumGrain;
      parts_per_row = (inner + cols - 1) / cols;
    } else {
      cols = inner;
      rows = std::max<std::size_t>(1, kLeaf / inner);
    }
    leaves = parts_per_row * ((outer + rows - 1) / rows);
  }
  struct Leaf {
    std::size_t row, col, rows, cols;
    std::size_t size() const { return rows * cols; }
  };
  Leaf operator[](std::size_t i) const {
    const std::size_t row = i / parts_per_row * rows, col = i % parts_per_row * cols;
    return {row, col, std::min(rows, outer - row), std::min(cols, inner - col)};
  }
  // Leaf and channel of unit u of all leaves of some channels: in the order of the memory, which is what the
  // prefetcher follows.
  struct Unit {
    std::size_t channel, leaf;
  };
  Unit unit(std::size_t u, std::size_t channels) const {
    const std::size_t line = u / parts_per_row;
    return {line % channels, line / channels * parts_per_row + u % parts_per_row};
  }

  // Neighbouring channels whose rows make up about a page.
  std::size_t channels_together(std::size_t item) const {
    const std::size_t bytes = std::max<std::size_t>(inner * item, 1);
    return parts_per_row != 1 ? 1 : std::clamp<std::size_t>(4096 / bytes, 1, kMostChannels);
  }

  static constexpr std::size_t kSumGrain = 16;
  std::size_t outer, inner, rows = 1, cols, parts_per_row = 1, leaves;
};

// A range of channels that two passes go over one after the other.
struct ChannelRange {
  std::size_t begin, end;
  std::size_t size() const { return end - begin; }
};

// Calls body(range, team) for ranges of channels of which `bytes` a channel stay in a cache between two
// passes: the second is then spared the memory. That is half of the second cache, as the results of the
// second pass take room too, or all of it, or a share of the last. A thread takes whole ranges: they share no
// work, and a call starts threads once and not for every pass. All channels at once, and all threads on them,
// where they fit, or where a sample's share of a range would be too short for the prefetcher.
template <class Body>
void for_channel_ranges(const ChannelShape& s, std::size_t bytes, std::size_t item, threading::Team team,
                        Body&& body) {
  constexpr std::size_t kShare = 2048;
  const std::size_t second = second_level_cache(), last = last_level_cache() / 4 / team.count();
  std::size_t most = 0;  // channels of a range
  for (const std::size_t cache : {second / 2, second, last}) {
    most = cache / std::max<std::size_t>(bytes, 1);
    if (most * s.inner * item >= kShare) break;
    most = s.channels;
  }
  std::size_t ranges = (s.channels + most - 1) / most;
  if (ranges == 1) return body(ChannelRange{0, s.channels}, team);
  ranges = std::min(s.channels, (ranges + team.count() - 1) / team.count() * team.count());
  threading::for_ranges(team, ranges, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      body(ChannelRange{s.channels * i / ranges, s.channels * (i + 1) / ranges}, team.at_most(1));
    }
  });
}

// Elements that are taken at once where operands go through buffers: four of them and theirs fit the L1
// cache.
inline constexpr std::size_t kPiece = 1024;

// What a pass takes at once: of memory as it lies all there is, whole rows of neighbouring channels together;
// so too, but kPiece elements at most, where something goes through buffers; or kPiece of one channel.
enum class Pieces { kWhole, kJoined, kSingle };

// Calls body(line) on pieces of memory in its own order; and done() at the end of each thread's share.
template <class Body, class Done>
void for_lines(const ChannelShape& s, const ChannelRange& range, const PlanarGrid& grid, Pieces pieces,
               threading::Team team, Body&& body, Done&& done) {
  const std::size_t parts = grid.parts_per_row, channels = range.size();
  const bool whole = pieces == Pieces::kWhole;
  const std::size_t fit = std::max<std::size_t>(1, kPiece / std::max<std::size_t>(grid.cols, 1));
  const std::size_t most = parts != 1 || pieces == Pieces::kSingle ? 1 : whole ? channels : fit;
  threading::for_ranges(team, s.outer * channels * parts, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t u = begin; u < end;) {
      const std::size_t line = u / parts, row = line / channels, c = line % channels,
                        col = u % parts * grid.cols, cols = std::min(grid.cols, s.inner - col);
      const std::size_t rows = std::min({most, channels - c, end - u}), step = whole ? cols : kPiece;
      for (std::size_t j = 0; j < cols; j += step) {
        body(Line{range.begin + c, row, col + j, rows, std::min(step, cols - j)});
      }
      u += rows;
    }
    done();
  });
}

// --- columns ---

inline constexpr std::size_t kPanel = 512;      // columns a thread takes at once
inline constexpr std::size_t kFoldBelow = 256;  // columns below which rows are folded together
inline constexpr std::size_t kRowGroup = 16;    // rows of a panel gathered at once: the sweep of the kernels
inline constexpr std::size_t kFlat = 1 << 16;   // positions a pass goes forward before it looks back

// x as a matrix of rows × columns, positions counted along the rows; a channel is `inner` neighbouring
// columns. Where a row is short or does not fill vectors, `fold` rows are seen as one; `rest` rows are left
// over, less than a fold. A leaf is some rows: about 256 KiB, or an eighth of them, where that is not too few
// or too many.
struct ColumnShape {
  explicit ColumnShape(const ChannelShape& s)
      : channels(s.channels), inner(s.inner), width(channels * inner) {
    if (width % 16 != 0 && width < kFoldBelow) {
      fold = 16 / std::gcd(width, std::size_t{16});
      fold *= std::max<std::size_t>(1, 64 / (fold * width));
      if (s.outer < fold) fold = 1;
    }
    cols = width * fold;
    rows = s.outer / fold;
    rest = s.outer % fold;
    leaf_rows = std::clamp<std::size_t>(std::min(65536 / cols, rows / 8), 128, 1024);
    leaves = (rows + leaf_rows - 1) / leaf_rows;
    panels = (cols + kPanel - 1) / kPanel;
  }
  std::size_t all_leaves() const { return leaves + (rest != 0); }
  bool one_a_channel() const { return inner == 1 && fold == 1; }  // column
  // One number a channel as one a column.
  template <class From, class To>
  void spread(const From* of_channels, To* of_columns) const {
    if (inner == 1) {
      for (std::size_t c = 0; c < channels; ++c) of_columns[c] = static_cast<To>(of_channels[c]);
    } else {
      for (std::size_t c = 0; c < channels; ++c) {
        std::fill_n(of_columns + c * inner, inner, static_cast<To>(of_channels[c]));
      }
    }
    for (std::size_t j = width; j < cols; ++j) of_columns[j] = of_columns[j - width];
  }

  std::size_t channels, inner, width, fold = 1, cols, rows, rest, leaf_rows, leaves, panels;
};

// A piece of a pass: positions from `first` on, in C order, of which the first has coefficient number
// `phase`.
struct Stretch {
  std::size_t first, n, phase;
  std::size_t size() const { return n; }
};

template <class T>
class Columns {
 public:
  Columns(const ChannelShape& s, T* data, const OperandLayout& layout) : data_(data) {
    if (layout.strides == nullptr) return;
    walk_ = make_walk<1>(s.shape, Order::kC, {layout}, sizeof(T))[0];
    dense_ = walk_.dense(data);
    packed_ = is_packed(walk_, data);
  }
  bool dense() const { return dense_; }
  Storage packed() const { return packed_ ? walk_.storage : Storage::kNative; }
  HalfOf<T>* halves(std::size_t first) const { return reinterpret_cast<HalfOf<T>*>(data_) + first; }
  HalfOf<T>* halves(const Stretch& s) const { return halves(s.first); }
  T* data() const { return data_; }
  template <class U>
  const T* load(std::size_t first, std::size_t n, U* buffer) const {
    if (dense_) return data_ + first;
    walk_.gather(data_, first, n, buffer);
    return buffer;
  }
  template <class U>
  const T* load(const Stretch& s, U* buffer) const {
    return load(s.first, s.n, buffer);
  }
  template <class U>
  U* target(const Stretch& s, U* buffer) const {
    return target(s.first, buffer);
  }
  template <class U>
  void store(const Stretch& s, const U* buffer) const {
    store(s.first, s.n, buffer);
  }
  template <class U>
  void copy(std::size_t first, std::size_t n, U* buffer) const {
    const T* from = load(first, n, buffer);
    if (from != buffer) std::copy_n(from, n, buffer);
  }
  template <class U>
  U* target(std::size_t first, U* buffer) const {
    return dense_ ? data_ + first : buffer;
  }
  template <class U>
  void store(std::size_t first, std::size_t n, const U* buffer) const {
    if (!dense_) walk_.scatter(buffer, data_, first, n);
  }

 private:
  T* data_;
  Strided walk_;
  bool dense_ = true, packed_ = false;
};

// Runs body(leaf index, row, rows, col, cols) over the grid: a leaf of rows × kPanel columns a unit, and the
// rest rows as one more leaf of one row.
template <class Body>
void for_panels(const ColumnShape& s, threading::Team team, Body&& body) {
  const std::size_t units = s.leaves * s.panels;
  threading::for_ranges(team, units, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t u = begin; u < end; ++u) {
      const std::size_t leaf = u / s.panels, col = u % s.panels * kPanel, row = leaf * s.leaf_rows;
      body(leaf, row, std::min(s.leaf_rows, s.rows - row), col, std::min(kPanel, s.cols - col));
    }
  });
  if (s.rest != 0) {
    const std::size_t cols = s.rest * s.width;
    for (std::size_t col = 0; col < cols; col += kPanel) {
      body(s.leaves, s.rows, 1, col, std::min(kPanel, cols - col));
    }
  }
}

// K coefficients of all channels as arrays that a vector can read at any phase: written to the first
// `channels` places of each, then spread over `inner` columns, repeated until they fill whole vectors, where
// that is not too long, and continued by one vector.
template <class T, std::size_t K>
class Cyclic {
 public:
  Cyclic(std::size_t channels, std::size_t inner)
      : channels_(channels), inner_(inner), width_(channels * inner) {
    const std::size_t whole = width_ * (kMaxLanes / std::gcd(width_, kMaxLanes));
    period = whole <= 1024 ? whole : width_;  // 16 KiB of float32 coefficients at most
    length_ = (period + kMaxLanes + kLine - 1) / kLine * kLine;
    values_ = std::make_unique_for_overwrite<T[]>(K * length_ + kLine);
    const std::size_t past = reinterpret_cast<std::uintptr_t>(values_.get()) % 64 / sizeof(T);
    first_ = values_.get() + (past == 0 ? 0 : kLine - past);
  }
  T* operator[](std::size_t k) { return first_ + k * length_; }
  // NaN of any bits becomes the one that float and bfloat16 have in common: kernels that round to bfloat16
  // count on lower halves of 0.
  void simplify_nans() {
    for (std::size_t k = 0; k < K; ++k) {
      std::replace_if((*this)[k], (*this)[k] + channels_, [](T v) { return v != v; },
                      std::numeric_limits<T>::quiet_NaN());
    }
  }
  void spread() {
    for (std::size_t k = 0; k < K; ++k) {
      T* a = (*this)[k];
      for (std::size_t c = channels_; inner_ > 1 && c-- > 0;) std::fill_n(a + c * inner_, inner_, a[c]);
      for (std::size_t i = width_; i < period + kMaxLanes; ++i) a[i] = a[i - width_];
    }
  }

  std::size_t period;

 private:
  static constexpr std::size_t kLine = 64 / sizeof(T);
  std::size_t channels_, inner_, width_, length_;
  std::unique_ptr<T[]> values_;
  T* first_;  // on a cache line
};

// Elementwise pass over all positions in C order; body(stretch) on ranges, of at most kPiece unless
// `whole`, and done() at the end of each thread's share. From the last stretch of positions to the first:
// what the pass before has read last is still in the cache.
template <class Body, class Done>
void for_flat(std::size_t n, bool whole, std::size_t period, threading::Team team, Body&& body, Done&& done) {
  // At least four stretches a thread, so that the shares are even.
  const std::size_t share = n / (4 * team.count()) / kPiece * kPiece;
  const std::size_t stretch = std::clamp(share, kPiece, kFlat), step = whole ? stretch : kPiece;
  threading::for_ranges(
      team, n, stretch,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t last = end; last > begin;) {
          const std::size_t first = (last - 1) / stretch * stretch;
          for (std::size_t i = first; i < last; i += step) {
            body(Stretch{i, std::min(step, last - i), i % period});
          }
          last = first;
        }
        done();
      },
      threading::Way::kBackward);
}

}  // namespace regkern

#endif  // REGKERN_CORE_CHANNELS_H_
