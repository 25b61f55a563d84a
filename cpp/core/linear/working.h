// The columns of the working set, centred and weighted: x̃ = √s·(x − mean). Packed where X is dense; where it
// is sparse only the nonzero elements are kept, and the mean is subtracted from sums.

#ifndef REGKERN_CORE_LINEAR_WORKING_H_
#define REGKERN_CORE_LINEAR_WORKING_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/linear/design.h"

namespace regkern::linear {

// The length of a column about its mean, by its square and that of what was read: 0 of one that takes no
// part. That is a constant, but for the rounding of its elements, and one whose squares float64 does not
// hold.
double length_of(double centred, double raw);

// A matrix of float64 that grows by rows and columns, to be read by rows. What is new in it is to be written
// first: memory that nobody touches costs nothing.
class Square {
 public:
  void resize(std::size_t size);
  // The rows and columns at these places, in order, are left.
  void keep(const std::vector<std::size_t>& places);
  std::size_t stride() const { return stride_; }
  double* row(std::size_t i) { return values_.get() + i * stride_; }
  const double* row(std::size_t i) const { return values_.get() + i * stride_; }

 private:
  std::unique_ptr<double[]> values_;
  std::size_t size_ = 0, stride_ = 0;
};

class Working {
 public:
  // q = √s, or empty for 1. Samples without weight are left out of what is packed.
  Working(const Design& X, std::vector<double> q);

  std::size_t size() const { return columns_.size(); }
  std::size_t column(std::size_t k) const { return columns_[k]; }
  std::size_t samples() const { return samples_; }  // in packed vectors
  bool sparse() const { return sparse_; }

  // How large the mean of a column is against what is about it. Where it is small, sums may be corrected for
  // it: a dense column of float64 is then read where it is, if all samples weigh 1. Where it is large they
  // may not: a sparse column is packed as well.
  enum class Mean { kUnknown, kSmall, kLarge };
  void add(std::size_t j, double mean, Mean size = Mean::kUnknown);
  // A column that is not X's, packed, by a number that none of X has.
  void add(std::size_t j, std::vector<double> packed);
  // The columns at these places, in order, are left; of dense ones alone.
  void keep(const std::vector<std::size_t>& places);
  // The rows of the Gram matrix that the columns from `first` on add to it, and their mirror image.
  void extend_gram(std::size_t first, Square& gram) const;
  // The same of Σ d·x̃·x̃ᵀ, from row and column `offset` on; of sparse columns without means alone.
  void extend_gram(std::size_t first, const double* d, std::size_t offset, Square& gram) const;
  double dot(std::size_t k, const double* r) const;              // x̃·r
  double dot_uncentred(std::size_t k, const double* r) const;    // of a sparse column without its mean
  void subtract(std::size_t k, double w, double* r) const;       // r −= w·x̃
  void subtract(const std::vector<double>& w, double* r) const;  // of all columns, w one number for each of X
  void pack(std::size_t k, double* out) const;                   // x̃ itself

  // A vector of all samples, weighted by q, without those that have no weight; and back, times q once more.
  void gather(const double* all, double* packed) const;
  void scatter(const double* packed, double* all) const;

  // What sparse coordinate descent works on: r̃ = r + shift·q, Σ q·r beside it.
  struct Residual {
    double* r;
    double weighted;  // Σ q·r
  };
  double weighted_sum(const double* r) const;
  double dot(std::size_t k, const Residual& r) const;
  void subtract(std::size_t k, double w, Residual& r) const;

 private:
  struct Sparse {
    std::vector<std::uint32_t> rows;
    std::vector<double> values;
    std::vector<std::size_t> starts{0};
  };

  const Design& X_;
  std::vector<double> q_;             // of the samples that are packed; empty: 1
  std::vector<double> all_q_;         // of all samples
  std::vector<std::uint32_t> kept_;   // which samples those are; empty: all
  std::vector<std::uint32_t> place_;  // of a sample among the packed ones, where some are left out
  std::size_t samples_;
  bool sparse_;
  double weight_;  // Σ s
  std::vector<std::size_t> columns_;
  std::vector<double> means_;  // what is left to subtract: 0 of packed columns
  std::vector<const double*> dense_;
  std::vector<std::vector<double>> packed_;  // of each dense column; empty: it is read where it is
  Sparse nonzero_;
};

}  // namespace regkern::linear

#endif  // REGKERN_CORE_LINEAR_WORKING_H_
