// Where the columns of the working set are, and their Gram matrix.

#include "core/linear/working.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/linear/polling.h"
#include "core/linear/products.h"
#include "core/threading.h"

namespace regkern::linear {
namespace {

constexpr std::size_t kBlock = 48;         // columns that are packed at once: some panels of any width
constexpr std::size_t kTall = 8 * kBlock;  // columns that share them
constexpr std::size_t kFew = 12;           // columns that are not worth packing
constexpr std::size_t kNear = 8;           // of these that all panels take while they are in the L1 cache
constexpr std::size_t kStretch = 1024;     // of samples: what is packed of them is in the L2 cache
constexpr std::size_t kPolled = std::size_t{1} << 29;  // products between two looks at whether to end
constexpr std::uint32_t kNowhere = UINT32_MAX;
constexpr double kEps = std::numeric_limits<double>::epsilon();
constexpr double kLeast = std::numeric_limits<double>::min() / kEps;  // a square that has all its digits

}  // namespace

double length_of(double centred, double raw) {
  const double rounding = 16 * kEps;
  return centred <= std::max(rounding * rounding * raw, kLeast) ? 0 : std::sqrt(centred);
}

void Square::resize(std::size_t size) {
  if (size > stride_) {
    // An odd number of cache lines: no two rows fight for one set.
    const std::size_t stride = ((std::max(size, 2 * stride_) + 7) / 8 | 1) * 8;
    auto grown = std::make_unique_for_overwrite<double[]>(stride * stride);
    for (std::size_t i = 0; i < size_; ++i) std::copy_n(row(i), size_, grown.get() + i * stride);
    values_ = std::move(grown);
    stride_ = stride;
  }
  size_ = size;
}

void Square::keep(const std::vector<std::size_t>& places) {
  for (std::size_t i = 0; i < places.size(); ++i) {
    double* to = row(i);
    const double* from = row(places[i]);
    for (std::size_t j = 0; j < places.size(); ++j) to[j] = from[places[j]];
  }
  size_ = places.size();
}

Working::Working(const Design& X, std::vector<double> q)
    : X_(X), all_q_(std::move(q)), samples_(X.n), sparse_(X.sparse()), weight_(static_cast<double>(X.n)) {
  if (all_q_.empty()) return;
  weight_ = 0;
  for (double v : all_q_) weight_ += v * v;
  if (std::find(all_q_.begin(), all_q_.end(), 0.0) == all_q_.end()) {
    q_ = all_q_;
    return;
  }
  place_.assign(X.n, kNowhere);
  for (std::size_t i = 0; i < X.n; ++i) {
    if (all_q_[i] == 0) continue;
    place_[i] = static_cast<std::uint32_t>(kept_.size());
    kept_.push_back(static_cast<std::uint32_t>(i));
    q_.push_back(all_q_[i]);
  }
  samples_ = kept_.size();
}

void Working::add(std::size_t j, double mean, Mean size) {
  if (sparse_ && size == Mean::kLarge) {
    std::vector<double> packed(samples_);
    X_.pack(j, all_q_.empty() ? nullptr : all_q_.data(), mean, kept_, packed.data());
    return add(j, std::move(packed));
  }
  columns_.push_back(j);
  if (!sparse_) {
    const double* in_place = size == Mean::kSmall && all_q_.empty() ? X_.column(j) : nullptr;
    means_.push_back(in_place == nullptr ? 0 : mean);
    packed_.emplace_back();
    if (in_place == nullptr) {
      packed_.back().resize(samples_);
      X_.pack(j, all_q_.empty() ? nullptr : all_q_.data(), mean, kept_, packed_.back().data());
      in_place = packed_.back().data();
    }
    dense_.push_back(in_place);
    return;
  }
  means_.push_back(mean);
  const SparseColumn column = X_.pack_sparse(j, all_q_.empty() ? nullptr : all_q_.data());
  for (std::size_t k = 0; k < column.rows.size(); ++k) {
    const std::uint32_t at = place_.empty() ? column.rows[k] : place_[column.rows[k]];
    if (at == kNowhere) continue;
    nonzero_.rows.push_back(at);
    nonzero_.values.push_back(column.values[k]);
  }
  nonzero_.starts.push_back(nonzero_.rows.size());
}

void Working::add(std::size_t j, std::vector<double> packed) {
  columns_.push_back(j);
  means_.push_back(0);
  if (!sparse_) {
    packed_.push_back(std::move(packed));
    return dense_.push_back(packed_.back().data());
  }
  for (std::size_t i = 0; i < samples_; ++i) nonzero_.rows.push_back(static_cast<std::uint32_t>(i));
  nonzero_.values.insert(nonzero_.values.end(), packed.begin(), packed.end());
  nonzero_.starts.push_back(nonzero_.rows.size());
}

void Working::keep(const std::vector<std::size_t>& places) {
  for (std::size_t k = 0; k < places.size(); ++k) {
    const std::size_t from = places[k];
    columns_[k] = columns_[from];
    means_[k] = means_[from];
    dense_[k] = dense_[from];
    std::swap(packed_[k], packed_[from]);
  }
  columns_.resize(places.size());
  means_.resize(places.size());
  dense_.resize(places.size());
  packed_.resize(places.size());
}

void Working::extend_gram(std::size_t first, Square& gram) const { extend_gram(first, nullptr, 0, gram); }

void Working::extend_gram(std::size_t first, const double* d, std::size_t offset, Square& gram) const {
  const std::size_t count = size(), n = samples_;
  gram.resize(offset + count);
  const auto row = [&](std::size_t i) { return gram.row(offset + i) + offset; };
  if (sparse_) {
    std::vector<double> dense(n);
    for (std::size_t i = first; i < count; ++i) {
      poll();
      for (std::size_t at = nonzero_.starts[i]; at < nonzero_.starts[i + 1]; ++at) {
        dense[nonzero_.rows[at]] += nonzero_.values[at] * (d == nullptr ? 1 : d[nonzero_.rows[at]]);
      }
      for (std::size_t j = 0; j <= i; ++j) {
        double sum = 0;
        for (std::size_t at = nonzero_.starts[j]; at < nonzero_.starts[j + 1]; ++at) {
          sum += nonzero_.values[at] * dense[nonzero_.rows[at]];
        }
        row(i)[j] = row(j)[i] = d == nullptr ? sum - weight_ * means_[i] * means_[j] : sum;
      }
      for (std::size_t at = nonzero_.starts[i]; at < nonzero_.starts[i + 1]; ++at)
        dense[nonzero_.rows[at]] = 0;
    }
    return;
  }
  // Blocks of the new columns, packed if they are not few, each with a stretch of all columns up to its own
  // last one: the same for any team.
  struct Block {
    std::size_t row, rows, column, columns;
  };
  std::vector<Block> blocks;
  for (std::size_t i = first; i < count; i += kBlock) {
    const std::size_t columns = std::min(kBlock, count - i);
    for (std::size_t j = 0; j < i + columns; j += kTall) {
      blocks.push_back({j, std::min(kTall, i + columns - j), i, columns});
    }
  }
  const Products& multiply = products();
  // A product takes as long as a byte does from memory.
  const threading::Team team = threading::team_for((count - first) * count / 2 * n);
  const auto make = [&](std::size_t begin, std::size_t end) {
    Room packed(kBlock * std::min(n, kStretch)), sums(kBlock * std::min(count, kTall));
    for (std::size_t b = begin; b < end; ++b) {
      const Block& block = blocks[b];
      std::fill_n(sums.data(), kBlock * block.rows, 0.0);
      const double *left[kTall], *right[kBlock];
      for (std::size_t at = 0; at < n; at += kStretch) {
        const std::size_t length = std::min(kStretch, n - at);
        for (std::size_t r = 0; r < block.rows; ++r) left[r] = dense_[block.row + r] + at;
        for (std::size_t c = 0; c < block.columns; ++c) right[c] = dense_[block.column + c] + at;
        if (block.columns < kFew && d == nullptr) {
          multiply.dots(left, block.rows, right, block.columns, length, sums.data(), kBlock);
          continue;
        }
        for (std::size_t c = 0; c < block.columns; c += multiply.panel) {
          multiply.pack(right + c, std::min(multiply.panel, block.columns - c),
                        d == nullptr ? nullptr : d + at, length, packed.data() + c * length);
        }
        for (std::size_t r = 0; r < block.rows; r += kNear) {
          for (std::size_t c = 0; c < block.columns; c += multiply.panel) {
            multiply.panel_dots(left + r, std::min(kNear, block.rows - r), packed.data() + c * length, length,
                                sums.data() + r * kBlock + c, kBlock);
          }
        }
      }
      for (std::size_t r = 0; r < block.rows; ++r) {
        const std::size_t j = block.row + r;
        double* sum = sums.data() + r * kBlock;
        for (std::size_t c = 0; c < block.columns; ++c) {
          const std::size_t i = block.column + c;
          if (d == nullptr && means_[i] != 0) sum[c] -= weight_ * means_[i] * means_[j];
          if (i >= j) row(j)[i] = sum[c];
        }
      }
      for (std::size_t c = 0; c < block.columns; ++c) {  // the mirror image, by its own rows
        const std::size_t i = block.column + c;
        for (std::size_t r = 0; r < block.rows && block.row + r <= i; ++r) {
          row(i)[block.row + r] = sums.data()[r * kBlock + c];
        }
      }
    }
  };
  const std::size_t at_once = std::max(kPolled / (kBlock * kTall * n + 1), 8 * team.count());
  for (std::size_t from = 0; from < blocks.size(); from += at_once) {
    poll();
    threading::for_ranges(team, std::min(at_once, blocks.size() - from), 1,
                          [&](std::size_t begin, std::size_t end) { make(from + begin, from + end); });
  }
}

double Working::dot(std::size_t k, const double* r) const {
  if (sparse_) return dot(k, Residual{const_cast<double*>(r), weighted_sum(r)});
  const double sum = products().dot(dense_[k], r, samples_);
  return means_[k] == 0 ? sum : sum - means_[k] * weighted_sum(r);
}

double Working::dot_uncentred(std::size_t k, const double* r) const {
  return sparse_ ? dot(k, Residual{const_cast<double*>(r), 0}) : dot(k, r);
}

void Working::subtract(std::size_t k, double w, double* r) const {
  const double shift = w * means_[k];
  if (!sparse_) products().axpy(-w, dense_[k], r, samples_);
  for (std::size_t at = sparse_ ? nonzero_.starts[k] : 0; sparse_ && at < nonzero_.starts[k + 1]; ++at) {
    r[nonzero_.rows[at]] -= w * nonzero_.values[at];
  }
  if (shift == 0) return;
  for (std::size_t i = 0; i < samples_; ++i) r[i] += shift * (q_.empty() ? 1 : q_[i]);
}

void Working::subtract(const std::vector<double>& w, double* r) const {
  double shift = 0;
  std::vector<double> by;
  std::vector<const double*> columns;
  for (std::size_t k = 0; k < size(); ++k) {
    const double one = w[columns_[k]];
    if (one == 0) continue;
    shift += one * means_[k];
    if (!sparse_) {
      by.push_back(-one);
      columns.push_back(dense_[k]);
      continue;
    }
    for (std::size_t at = nonzero_.starts[k]; at < nonzero_.starts[k + 1]; ++at) {
      r[nonzero_.rows[at]] -= one * nonzero_.values[at];
    }
  }
  for (std::size_t at = 0; at < samples_ && !columns.empty(); at += kStretch) {
    products().axpys(by.data(), columns.data(), columns.size(), r + at, std::min(kStretch, samples_ - at));
    for (const double*& column : columns) column += kStretch;
  }
  if (shift == 0) return;
  for (std::size_t i = 0; i < samples_; ++i) r[i] += shift * (q_.empty() ? 1 : q_[i]);
}

void Working::pack(std::size_t k, double* out) const {
  std::fill_n(out, samples_, 0.0);
  subtract(k, -1, out);
}

void Working::gather(const double* all, double* packed) const {
  for (std::size_t i = 0; i < samples_; ++i) packed[i] = all[kept_.empty() ? i : kept_[i]];
}

void Working::scatter(const double* packed, double* all) const {
  if (!kept_.empty()) std::fill_n(all, X_.n, 0.0);
  for (std::size_t i = 0; i < samples_; ++i) {
    all[kept_.empty() ? i : kept_[i]] = packed[i] * (q_.empty() ? 1 : q_[i]);
  }
}

double Working::weighted_sum(const double* r) const {
  double sum = 0;
  for (std::size_t i = 0; i < samples_; ++i) sum += q_.empty() ? r[i] : q_[i] * r[i];
  return sum;
}

double Working::dot(std::size_t k, const Residual& r) const {
  double sum = 0;
  for (std::size_t at = nonzero_.starts[k]; at < nonzero_.starts[k + 1]; ++at) {
    sum += nonzero_.values[at] * r.r[nonzero_.rows[at]];
  }
  return sum - means_[k] * r.weighted;
}

// What the mean takes away from every sample is left to the residual's end: r̃ = r + shift·q, of which a dot
// product with x̃ needs Σ q·r alone.
void Working::subtract(std::size_t k, double w, Residual& r) const {
  for (std::size_t at = nonzero_.starts[k]; at < nonzero_.starts[k + 1]; ++at) {
    r.r[nonzero_.rows[at]] -= w * nonzero_.values[at];
  }
  r.weighted -= w * weight_ * means_[k];
}

}  // namespace regkern::linear
