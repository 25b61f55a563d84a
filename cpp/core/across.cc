// How memory in another order of axes is cut into tiles for a mask.

#include "core/across.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/across.cc"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "core/dispatch.h"
#include "kernels/across-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

static decltype(&across::decide_tile) decide_tile() { return &across::decide_tile; }

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regkern {
namespace {

REGKERN_EXPORT(decide_tile);

constexpr std::size_t kTile = 1 << 16;  // decisions, twice, or twice and their bits: 144 KiB
// Tiles that follow each other are decided as one up to so many: a call, the ends of runs of vectors and the
// ties of 4,096 alone took a fifth of the time of (64, 64, 8, 8).
constexpr std::size_t kSheets = 1 << 14;
constexpr std::size_t kLongRun = 256;  // elements: a call of a kernel and its first decisions weigh little
constexpr std::size_t kShort = 32;     // below, a gather of elements is as fast
constexpr std::size_t kManyRows = 64;  // rows and columns of a tile, where the shape has them: whole lines

std::size_t pieces(std::size_t n, std::size_t most) { return (n + most - 1) / most; }

}  // namespace

Across::Across(const Extents& shape, const std::ptrdiff_t* strides, std::size_t item) {
  const Strided walk = make_walk<1>(shape, Order::kC, {OperandLayout(strides)}, item)[0];
  std::vector<Axis> axes;  // the last of the shape first
  std::size_t number = 1;
  for (int i = walk.ndim; i-- > 0; number *= walk.dims[i]) {
    if (walk.strides[i] <= 0) return;
    axes.push_back({walk.dims[i], number, static_cast<std::size_t>(walk.strides[i]) / item});
  }
  const std::size_t rank = axes.size();
  if (rank < 2 || shape.size == 0) return;
  std::vector<std::size_t> by_memory(rank);  // neighbours in memory first
  for (std::size_t i = 0; i < rank; ++i) by_memory[i] = i;
  std::sort(by_memory.begin(), by_memory.end(),
            [&](std::size_t a, std::size_t b) { return axes[a].memory < axes[b].memory; });
  std::size_t step = 1;
  for (const std::size_t i : by_memory) {
    if (axes[i].memory != step) return;  // gaps
    step *= axes[i].length;
  }

  // Rows of the axes that are next in memory, columns of those that are next by number: as many of them as
  // make a side that is long enough.
  enum class Side { kOuter, kRows, kColumns };
  std::vector<Side> side(rank, Side::kOuter);
  std::size_t rows = 1, columns = 1, row_axes = 0, column_axes = 0;
  if (by_memory[0] == 0) {
    if (axes[0].length < kLongRun) return;
    run_ = axes[0].length;
    side[0] = Side::kColumns;
    column_axes = 1;
  } else {
    const auto grow_rows = [&] {
      if (row_axes == rank || side[by_memory[row_axes]] != Side::kOuter) return false;
      side[by_memory[row_axes]] = Side::kRows;
      rows *= axes[by_memory[row_axes++]].length;
      return true;
    };
    const auto grow_columns = [&] {
      if (column_axes == rank || side[column_axes] != Side::kOuter) return false;
      side[column_axes] = Side::kColumns;
      columns *= axes[column_axes++].length;
      return true;
    };
    grow_rows();
    grow_columns();
    while (rows < kManyRows && grow_rows()) {
    }
    while (columns < kManyRows && grow_columns()) {
    }
    // Where rows begin by number, and columns in memory.
    const auto offsets = [](auto& table, std::size_t length, std::size_t axis_step) {
      const std::size_t inner = table.size();
      for (std::size_t k = 1; k < length; ++k) {
        for (std::size_t i = 0; i < inner; ++i) table.push_back(table[i] + k * axis_step);
      }
    };
    numbers_ = {0};
    one_run_ = one_stretch_ = true;
    for (std::size_t i = 0, next = columns; i < row_axes; ++i) {
      const Axis& axis = axes[by_memory[i]];
      offsets(numbers_, axis.length, axis.number);
      one_run_ = one_run_ && axis.number == next;
      next *= axis.length;
    }
    for (std::size_t i = 0, next = rows; i < column_axes; next *= axes[i++].length) {
      one_stretch_ = one_stretch_ && axes[i].memory == next;
    }
    if (!one_stretch_) places_ = {0};
    for (std::size_t i = 0; !one_stretch_ && i < column_axes; ++i) {
      offsets(places_, axes[i].length, axes[i].memory);
    }
    rows_ = rows;
    columns_ = columns;
    cut();
  }
  for (std::size_t i = rank; i-- > 0;) {
    const Axis& axis = axes[by_memory[i]];
    if (side[by_memory[i]] != Side::kOuter) continue;
    outer_.push_back(axis);
    outer_count_ *= axis.length;
  }
  const bool follow =
      std::all_of(outer_.begin(), outer_.end(), [](const Axis& a) { return a.number == a.memory; });
  if (run_ == 0 && follow && one_run_ && column_pieces_ == 1 && whole_rows()) {
    sheets_ = std::clamp(kSheets / (rows_ * columns_), std::size_t{1}, outer_count_);
  }
  worth_ = run_ != 0 || worth_;
}

// Whole tiles where they fit, else long runs of numbers and, for the rest, whole rows.
void Across::cut() {
  // One run is decided without the rests of groups that begin and end each row: (32, 128, 28, 28) took 1.28
  // times as long in two tiles, (32, 64, 56, 56) 1.16 times in four.
  if (rows_ * columns_ > (one_run_ ? 4 * kTile : kTile)) {
    column_pieces_ = pieces(columns_, std::max(kTile / rows_, kLongRun) / 16 * 16);
    row_pieces_ = pieces(rows_, std::max(kTile / pieces(columns_, column_pieces_), kShort));
  }
  const bool runs = (one_run_ && column_pieces_ == 1) || columns_ / column_pieces_ >= kShort;
  const bool stretches = (one_stretch_ && row_pieces_ == 1) || rows_ / row_pieces_ >= kShort;
  worth_ = runs && stretches;
}

std::size_t Across::room() const {
  if (run_ != 0) return 0;
  const std::size_t rows = pieces(rows_, row_pieces_) + 1, columns = pieces(columns_, column_pieces_) + 16;
  const bool together = one_run_ && column_pieces_ == 1 && row_pieces_ == 1;
  const std::size_t tile = together ? sheets_ * rows_ * columns_ : rows * (columns + kDecisionPad);
  return 2 * (pieces(tile, sizeof(Line)) * sizeof(Line) + 6 * kDecisionPad);
}

Across::Tile Across::tile(std::size_t unit) const {
  // Pieces of equal size but for the last; those of columns begin at multiples of 16.
  const auto piece = [](std::size_t n, std::size_t count, std::size_t i, std::size_t grain) {
    const std::size_t size = pieces(pieces(n, count), grain) * grain, begin = std::min(n, i * size);
    return std::pair(begin, std::min(n, begin + size) - begin);
  };
  if (sheets_ != 1) {
    const std::size_t first = unit * sheets_, at = first * rows_ * columns_;
    return {at, 0, rows_, 0, columns_, std::min(sheets_, outer_count_ - first), at};
  }
  Tile t{};
  t.sheets = 1;
  if (run_ == 0) {
    std::tie(t.row, t.rows) = piece(rows_, row_pieces_, unit % row_pieces_, 1);
    unit /= row_pieces_;
    std::tie(t.column, t.columns) = piece(columns_, column_pieces_, unit % column_pieces_, 16);
    unit /= column_pieces_;
  }
  for (std::size_t i = outer_.size(); i-- > 0; unit /= outer_[i].length) {
    t.memory += unit % outer_[i].length * outer_[i].memory;
    t.number += unit % outer_[i].length * outer_[i].number;
  }
  return t;
}

DecisionTile Across::decisions(const Tile& t) const {
  return {t.number + t.column,
          numbers_.data() + t.row,
          t.rows,
          t.columns,
          t.sheets,
          one_run_ && column_pieces_ == 1,
          {},
          1};
}

const std::int8_t* Across::decide(const DecisionSource& source, const Tile& t, std::int8_t* room,
                                  const Fetched& fetched) const {
  if (t.rows == 0 || t.columns == 0) return room;
  std::int8_t* const keep = room + this->room() / 2;
  DecisionTile tile = decisions(t);
  tile.item = fetched.item;
  const std::size_t arrays = fetched.data.size();
  const bool fits = t.sheets * t.rows * t.columns * fetched.item * arrays <= second_level_cache();
  for (std::size_t k = 0; whole_rows() && fits && k < arrays; ++k) {
    if (fetched.data[k] != nullptr) tile.data[k] = fetched.data[k] + begin(t) * fetched.item;
  }
  REGKERN_TABLE(decide_tile)(source, tile, room, keep);
  return keep;
}

}  // namespace regkern
#endif  // HWY_ONCE
