// X in its layouts. A dense X is read along its columns or along its rows, whichever are dense; any other is
// gathered a column at a time. Threads share the columns, so a sum is the same for any number of them.

#include "core/linear/design.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/linear/design.cc"
#include "hwy/foreach_target.h"

#include "core/dispatch.h"
#include "kernels/linear/design-inl.h"

#define REGKERN_FAMILY linear_design
#define REGKERN_KERNELS(X) \
  X(column_moments)        \
  X(column_dots)           \
  X(pack_column)           \
  X(add_column)            \
  X(row_dots)              \
  X(row_moments)
#include "core/table-inl.h"

#if HWY_ONCE
#include "core/linear/products.h"
#include "core/threading.h"
#include "hwy/cache_control.h"

namespace regkern::linear {
namespace {

// A multiple of the longest vector's lanes: a column is in a whole vector or not for any number of threads.
constexpr std::size_t kGrain = 16;
constexpr std::size_t kStretch = 1024;  // columns whose sums stay in the L1 cache while rows go by
constexpr std::size_t kAhead = 512;     // elements of compressed columns that are fetched before their turn
constexpr std::size_t kColumnsAhead = 8;

struct Sums {
  const double *s, *u;
  double weight;      // Σ s
  std::size_t first;  // a row of the largest weight: its element is as near to the mean as matters
  bool centre;
};

Sums sums_of(std::size_t n, const double* s, const double* u, bool centre) {
  if (s == nullptr) return {s, u, static_cast<double>(n), 0, centre};
  const auto first = static_cast<std::size_t>(std::max_element(s, s + n) - s);
  return {s, u, std::accumulate(s, s + n, 0.0), first, centre};
}

ColumnMoments room_for(std::size_t p) {
  return {std::vector<double>(p), std::vector<double>(p), std::vector<double>(p), std::vector<double>(p)};
}

// From sums of x − shift. No cancellation: shift is an element of the column whose weight is at least the
// mean weight, so (mean − shift)² is at most n times the variance.
void settle(const Sums& sums, std::size_t j, double shift, const double* moments, ColumnMoments& out) {
  const double middle = sums.centre ? moments[0] / sums.weight : 0;
  out.mean[j] = sums.centre ? shift + middle : 0;
  const double centred = moments[1] - middle * moments[0];
  out.centred[j] = centred < 0 ? 0 : centred;  // NaN stays
  out.raw[j] = out.centred[j] + sums.weight * out.mean[j] * out.mean[j];
  out.with_u[j] = moments[2];
}

template <class T>
class Dense : public Design {
 public:
  explicit Dense(const Matrix& X)
      : Design(X.n, X.p),
        k(table<T>()),
        data_(static_cast<const char*>(X.data)),
        row_(X.row_stride),
        column_(X.column_stride) {}

  bool sparse() const final { return false; }

  SparseColumn pack_sparse(std::size_t, const double*) const final { return {}; }
  const double* column(std::size_t) const override { return nullptr; }

 protected:
  T at(std::size_t i, std::size_t j) const {
    T value;
    const auto place = static_cast<std::ptrdiff_t>(i) * row_ + static_cast<std::ptrdiff_t>(j) * column_;
    std::memcpy(&value, data_ + place, sizeof(T));
    return value;
  }

  threading::Team team() const { return threading::team_for(n * p * sizeof(T)); }

  const Table<T>& k;
  const char* data_;
  std::ptrdiff_t row_, column_;
};

// Read along columns: where they lie, or from a copy of one where their elements are apart.
template <class T>
class ByColumns final : public Dense<T> {
 public:
  ByColumns(const Matrix& X, bool gathered) : Dense<T>(X), gathered_(gathered) {}
  using Dense<T>::n;
  using Dense<T>::p;
  using Dense<T>::k;

  ColumnMoments moments(const double* s, const double* u, bool centre) const override {
    ColumnMoments out = room_for(p);
    const Sums sums = sums_of(n, s, u, centre);
    threading::for_ranges(this->team(), p, kGrain, [&](std::size_t begin, std::size_t end) {
      std::vector<T> room;
      for (std::size_t j = begin; j < end;) {
        const T* x[kGrain];
        double shift[kGrain], three[3 * kGrain];
        const std::size_t some = gathered_ ? 1 : std::min(kGrain, end - j);
        for (std::size_t c = 0; c < some; ++c) {
          x[c] = column(j + c, room);
          shift[c] = centre ? static_cast<double>(x[c][sums.first]) : 0;
        }
        k.column_moments(x, some, n, s, u, shift, three);
        for (std::size_t c = 0; c < some; ++c) settle(sums, j + c, shift[c], three + 3 * c, out);
        j += some;
      }
    });
    return out;
  }

  void correlate(const double* u, const double* shift, double* g) const override {
    correlate(p, [](std::size_t j) { return j; }, u, shift, g);
  }

  void correlate(const std::vector<std::uint32_t>& columns, const double* u, const double* shift,
                 double* g) const override {
    correlate(columns.size(), [&](std::size_t c) { return std::size_t{columns[c]}; }, u, shift, g);
  }

  void pack(std::size_t j, const double* q, double shift, const std::vector<std::uint32_t>& rows,
            double* out) const override {
    std::vector<T> room;
    const T* x = column(j, room);
    if (rows.empty()) return k.pack_column(x, n, q, shift, out);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      out[i] = (static_cast<double>(x[rows[i]]) - shift) * (q == nullptr ? 1 : q[rows[i]]);
    }
  }

  void multiply(const std::vector<std::size_t>& columns, const double* w, double* z) const override {
    std::vector<T> room;
    for (std::size_t c = 0; c < columns.size(); ++c) k.add_column(column(columns[c], room), n, w[c], z);
  }

  const double* column(std::size_t j) const override {
    if (gathered_ || sizeof(T) != sizeof(double)) return nullptr;
    std::vector<T> room;
    return reinterpret_cast<const double*>(column(j, room));
  }

 private:
  template <class Place>
  void correlate(std::size_t count, Place&& place, const double* u, const double* shift, double* g) const {
    const threading::Team team = threading::team_for(n * count * sizeof(T));
    threading::for_ranges(team, count, kGrain, [&](std::size_t begin, std::size_t end) {
      std::vector<T> room;
      for (std::size_t j = begin; j < end;) {
        const T* x[kGrain];
        double by[kGrain], sums[kGrain];
        const std::size_t some = gathered_ ? 1 : std::min(kGrain, end - j);
        for (std::size_t c = 0; c < some; ++c) {
          x[c] = column(place(j + c), room);
          by[c] = shift[place(j + c)];
        }
        k.column_dots(x, some, n, u, by, sums);
        for (std::size_t c = 0; c < some; ++c) g[place(j + c)] = sums[c];
        j += some;
      }
    });
  }

  const T* column(std::size_t j, std::vector<T>& room) const {
    if (!gathered_) {
      return reinterpret_cast<const T*>(this->data_ + static_cast<std::ptrdiff_t>(j) * this->column_);
    }
    room.resize(n);
    for (std::size_t i = 0; i < n; ++i) room[i] = this->at(i, j);
    return room.data();
  }

  bool gathered_;
};

template <class T>
class ByRows final : public Dense<T> {
 public:
  explicit ByRows(const Matrix& X) : Dense<T>(X) {}
  using Dense<T>::n;
  using Dense<T>::p;
  using Dense<T>::k;

  ColumnMoments moments(const double* s, const double* u, bool centre) const override {
    ColumnMoments out = room_for(p);
    const Sums sums = sums_of(n, s, u, centre);
    in_stretches([&](std::size_t begin, std::size_t count) {
      std::vector<double> room(4 * count);
      double *shift = room.data(), *first = shift + count, *second = first + count, *with_u = second + count;
      for (std::size_t j = 0; centre && j < count; ++j) {
        shift[j] = static_cast<double>(this->at(sums.first, begin + j));
      }
      for (std::size_t i = 0; i < n; ++i) {
        k.row_moments(row(i) + begin, count, s == nullptr ? 1 : s[i], u[i], shift, first, second, with_u);
      }
      for (std::size_t j = 0; j < count; ++j) {
        const double three[] = {first[j], second[j], with_u[j]};
        settle(sums, begin + j, shift[j], three, out);
      }
    });
    return out;
  }

  void correlate(const double* u, const double* shift, double* g) const override {
    std::fill_n(g, p, 0.0);
    const auto step = this->row_ / static_cast<std::ptrdiff_t>(sizeof(T));
    in_stretches([&](std::size_t begin, std::size_t count) {
      k.row_dots(row(0) + begin, step, n, count, u, shift + begin, g + begin);
    });
  }

  void correlate(const std::vector<std::uint32_t>&, const double* u, const double* shift,
                 double* g) const override {
    correlate(u, shift, g);
  }

  void pack(std::size_t j, const double* q, double shift, const std::vector<std::uint32_t>& rows,
            double* out) const override {
    const std::size_t count = rows.empty() ? n : rows.size();
    for (std::size_t r = 0; r < count; ++r) {
      const std::size_t i = rows.empty() ? r : rows[r];
      out[r] = (static_cast<double>(row(i)[j]) - shift) * (q == nullptr ? 1 : q[i]);
    }
  }

  void multiply(const std::vector<std::size_t>& columns, const double* w, double* z) const override {
    std::vector<double> all;  // where most columns take part, the others do so with 0
    if (std::is_same_v<T, double> && 2 * columns.size() > p) {
      all.resize(p);
      for (std::size_t c = 0; c < columns.size(); ++c) all[columns[c]] = w[c];
    }
    const auto with_row = [&](std::size_t i) {
      const T* x = row(i);
      if constexpr (std::is_same_v<T, double>) {
        if (!all.empty()) return products().dot(x, all.data(), p);
      }
      double sum = 0;
      for (std::size_t c = 0; c < columns.size(); ++c) sum += w[c] * static_cast<double>(x[columns[c]]);
      return sum;
    };
    threading::for_ranges(threading::team_for(n * columns.size() * sizeof(T)), n, kGrain,
                          [&](std::size_t begin, std::size_t end) {
                            for (std::size_t i = begin; i < end; ++i) z[i] += with_row(i);
                          });
  }

 private:
  const T* row(std::size_t i) const {
    return reinterpret_cast<const T*>(this->data_ + static_cast<std::ptrdiff_t>(i) * this->row_);
  }

  template <class Body>
  void in_stretches(Body&& body) const {
    threading::for_ranges(this->team(), p, kGrain, [&](std::size_t begin, std::size_t end) {
      for (std::size_t j = begin; j < end; j += kStretch) body(j, std::min(kStretch, end - j));
    });
  }
};

// Compressed columns.
template <class T, class I>
class Columns final : public Design {
 public:
  explicit Columns(const Matrix& X)
      : Design(X.n, X.p),
        values_(static_cast<const T*>(X.data)),
        rows_(static_cast<const I*>(X.indices)),
        starts_(static_cast<const I*>(X.starts)) {}

  bool sparse() const override { return true; }
  std::size_t stored() const override { return begin(p); }

  ColumnMoments moments(const double* s, const double* u, bool centre) const override {
    return s == nullptr ? moments_of<false>(s, u, centre) : moments_of<true>(s, u, centre);
  }

  void correlate(const double* u, const double* shift, double* g) const override {
    const double sum_u = std::accumulate(u, u + n, 0.0);
    for_columns([&](std::size_t j) { g[j] = dot(j, u, shift[j], sum_u); });
  }

  void correlate(const std::vector<std::uint32_t>& columns, const double* u, const double* shift,
                 double* g) const override {
    const double sum_u = std::accumulate(u, u + n, 0.0);
    const threading::Team team = threading::team_for(begin(p) / p * columns.size() * (sizeof(T) + sizeof(I)));
    threading::for_ranges(team, columns.size(), kGrain, [&](std::size_t from, std::size_t to) {
      for (std::size_t k = from; k < to; ++k) {
        const std::uint32_t j = columns[k];
        if (k + kColumnsAhead < to) fetch(columns[k + kColumnsAhead]);
        g[j] = dot<false>(j, u, shift[j], sum_u);
      }
    });
  }

  void pack(std::size_t j, const double* q, double shift, const std::vector<std::uint32_t>& rows,
            double* out) const override {
    std::vector<double> dense(n, -shift);
    each<false>(j, [&](std::size_t i, double x, std::size_t) { dense[i] += x; });
    const std::size_t count = rows.empty() ? n : rows.size();
    for (std::size_t r = 0; r < count; ++r) {
      const std::size_t i = rows.empty() ? r : rows[r];
      out[r] = dense[i] * (q == nullptr ? 1 : q[i]);
    }
  }

  SparseColumn pack_sparse(std::size_t j, const double* q) const override {
    SparseColumn column;
    const std::size_t count = begin(j + 1) - begin(j);
    column.rows.reserve(count);
    column.values.reserve(count);
    each<false>(j, [&](std::size_t i, double x, std::size_t) {
      column.rows.push_back(static_cast<std::uint32_t>(i));
      column.values.push_back(q == nullptr ? x : q[i] * x);
    });
    return column;
  }

  void multiply(const std::vector<std::size_t>& columns, const double* w, double* z) const override {
    for (std::size_t c = 0; c < columns.size(); ++c) {
      each<false>(columns[c], [&](std::size_t i, double x, std::size_t) { z[i] += w[c] * x; });
    }
  }

  const double* column(std::size_t) const override { return nullptr; }

 private:
  std::size_t begin(std::size_t j) const { return static_cast<std::size_t>(starts_[j]); }
  std::size_t row(std::size_t at) const { return static_cast<std::size_t>(rows_[at]); }

  struct Four {  // sums of every fourth term, since an addition waits for the one before
    double parts[4] = {};
    double total() const { return (parts[0] + parts[1]) + (parts[2] + parts[3]); }
  };

  template <bool kWeighted>
  ColumnMoments moments_of(const double* s, const double* u, bool centre) const {
    ColumnMoments out = room_for(p);
    const Sums sums = sums_of(n, s, u, centre);
    const double sum_u = std::accumulate(u, u + n, 0.0);
    for_columns([&](std::size_t j) {
      check_rows(j);
      Four weights, first, second, with_u;
      each<true>(j, [&](std::size_t i, double x, std::size_t k) {
        const double weighted = kWeighted ? s[i] * x : x;
        if (kWeighted) weights.parts[k] += s[i];
        first.parts[k] += weighted;
        second.parts[k] += weighted * x;
        with_u.parts[k] += u[i] * x;
      });
      const auto count = static_cast<double>(begin(j + 1) - begin(j));
      const double weight = kWeighted ? weights.total() : count,
                   mean = centre ? first.total() / sums.weight : 0;
      out.mean[j] = mean;
      out.raw[j] = second.total();
      const bool full = begin(j + 1) - begin(j) == n;
      out.with_u[j] = full ? dot(j, u, mean, sum_u) : with_u.total() - mean * sum_u;
      double centred = out.raw[j] - mean * first.total();
      if (!(centred > 1e-4 * out.raw[j])) {  // the difference of large sums: again, about the mean
        centred = (sums.weight - weight) * mean * mean;
        each<false>(j, [&](std::size_t i, double x, std::size_t) {
          centred += (kWeighted ? s[i] : 1) * (x - mean) * (x - mean);
        });
      }
      out.centred[j] = centred < 0 ? 0 : centred;
    });
    return out;
  }

  void check_rows(std::size_t j) const {
    using Unsigned = std::make_unsigned_t<I>;
    Unsigned largest = 0;  // a negative number is a large one
    for (std::size_t at = begin(j); at < begin(j + 1); ++at) {
      largest = std::max(largest, static_cast<Unsigned>(rows_[at]));
    }
    if (largest >= n) throw NotARow{static_cast<I>(largest), n};
  }

  template <bool kStream = true>
  double dot(std::size_t j, const double* u, double shift, double sum_u) const {
    const bool full = begin(j + 1) - begin(j) == n;
    const double inside = full ? shift : 0;  // without zeros, so that the shift may be large
    Four sum;
    each<kStream>(j, [&](std::size_t i, double x, std::size_t k) { sum.parts[k] += u[i] * (x - inside); });
    return sum.total() - (shift - inside) * sum_u;
  }

  // The beginning of a column, that it is there when its turn comes.
  void fetch(std::size_t j) const {
    for (std::size_t at = begin(j); at < std::min(begin(j + 1), begin(j) + kAhead); at += 8) {
      hwy::Prefetch(values_ + at);
      hwy::Prefetch(rows_ + at);
    }
  }

  // body(row, value, which of four sums) for the elements of a column. kStream: the next columns follow.
  template <bool kStream, class Body>
  void each(std::size_t j, Body&& body) const {
    std::size_t at = begin(j);
    const std::size_t end = begin(j + 1);
    for (; at + 4 <= end; at += 4) {
      if (kStream) {  // what comes next is known, but not to the processor
        hwy::Prefetch(values_ + at + kAhead);
        hwy::Prefetch(rows_ + at + kAhead);
      }
      for (std::size_t k = 0; k < 4; ++k) body(row(at + k), static_cast<double>(values_[at + k]), k);
    }
    for (; at < end; ++at) body(row(at), static_cast<double>(values_[at]), 0);
  }

  template <class Body>
  void for_columns(Body&& body) const {
    const threading::Team team = threading::team_for(begin(p) * (sizeof(T) + sizeof(I) + sizeof(double)));
    threading::for_ranges(team, p, kGrain, [&](std::size_t from, std::size_t to) {
      for (std::size_t j = from; j < to; ++j) body(j);
    });
  }

  const T* values_;
  const I *rows_, *starts_;
};

template <class T>
std::unique_ptr<Design> of_dtype(const Matrix& X) {
  if (X.kind == Matrix::Kind::kColumns) {
    if (X.wide) return std::make_unique<Columns<T, std::int64_t>>(X);
    return std::make_unique<Columns<T, std::int32_t>>(X);
  }
  constexpr auto kItem = static_cast<std::ptrdiff_t>(sizeof(T));
  const bool aligned = reinterpret_cast<std::uintptr_t>(X.data) % sizeof(T) == 0 &&
                       X.row_stride % kItem == 0 && X.column_stride % kItem == 0;
  if (aligned && (X.row_stride == kItem || X.n == 1)) return std::make_unique<ByColumns<T>>(X, false);
  if (aligned && (X.column_stride == kItem || X.p == 1)) return std::make_unique<ByRows<T>>(X);
  return std::make_unique<ByColumns<T>>(X, true);
}

}  // namespace

std::unique_ptr<Design> make_design(const Matrix& X) {
  return X.single ? of_dtype<float>(X) : of_dtype<double>(X);
}

}  // namespace regkern::linear
#endif  // HWY_ONCE
