// Linear models without Python: a matrix in every layout gives the sums of plain loops, the quadratic problem
// ends at a point that satisfies its optimality conditions whatever its rank, and closed forms come out.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/linear/design.h"
#include "core/linear/quadratic.h"
#include "regkern/linear.h"
#include "regkern/runtime.h"
#include "tests/common.h"

namespace {

using regkern::linear::Design;
using regkern::linear::Matrix;
using regkern::linear::Quadratic;
using regkern::linear::Term;

constexpr double kInf = std::numeric_limits<double>::infinity();

template <class Body>
void for_isas_and_teams(Body&& body) {
  regkern::tests::for_isas([&] {
    for (const int threads : {1, 2, 3}) {
      SCOPED_TRACE("threads " + std::to_string(threads));
      regkern::set_num_threads(threads);
      body();
    }
  });
  regkern::set_num_threads(0);
}

// Numbers of a matrix, by rows, and the same as memory of some layout.
template <class T>
struct Laid {
  Matrix matrix;
  std::vector<char> bytes;
  std::vector<std::int64_t> rows, starts;
  std::vector<T> values;
};

enum class Layout { kColumns, kRows, kApart, kBackward, kUnaligned, kSparse };

template <class T>
void lay(const std::vector<double>& x, std::size_t n, std::size_t p, Layout layout, Laid<T>& to) {
  const auto rows = static_cast<std::ptrdiff_t>(n), columns = static_cast<std::ptrdiff_t>(p);
  constexpr auto kItem = static_cast<std::ptrdiff_t>(sizeof(T));
  if (layout == Layout::kSparse) {
    for (std::size_t j = 0; j < p; ++j) {
      to.starts.push_back(static_cast<std::int64_t>(to.rows.size()));
      for (std::size_t i = 0; i < n; ++i) {
        if (x[i * p + j] == 0) continue;
        to.rows.push_back(static_cast<std::int64_t>(i));
        to.values.push_back(static_cast<T>(x[i * p + j]));
      }
    }
    to.starts.push_back(static_cast<std::int64_t>(to.rows.size()));
    to.matrix = {Matrix::Kind::kColumns, sizeof(T) == 4,   n,   p, to.values.data(), 0, 0,
                 to.rows.data(),         to.starts.data(), true};
    return;
  }
  std::ptrdiff_t row = kItem, column = rows * kItem, first = 0;
  if (layout == Layout::kRows) row = columns * kItem, column = kItem;
  if (layout == Layout::kApart) row = 3 * kItem, column = 3 * rows * kItem;
  if (layout == Layout::kBackward) row = -kItem, first = (rows - 1) * kItem;
  if (layout == Layout::kUnaligned) first = 1;
  to.bytes.resize(static_cast<std::size_t>(3 * rows * columns * kItem + 8));
  for (std::ptrdiff_t i = 0; i < rows; ++i) {
    for (std::ptrdiff_t j = 0; j < columns; ++j) {
      const T value = static_cast<T>(x[static_cast<std::size_t>(i * columns + j)]);
      std::memcpy(to.bytes.data() + first + i * row + j * column, &value, sizeof(T));
    }
  }
  to.matrix = {Matrix::Kind::kDense,
               sizeof(T) == 4,
               n,
               p,
               to.bytes.data() + first,
               row,
               column,
               nullptr,
               nullptr,
               false};
}

std::vector<double> numbers(std::size_t n, unsigned seed, double zeros = 0) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<int> value(-64, 64);
  std::bernoulli_distribution zero(zeros);
  std::vector<double> x(n);
  for (double& v : x) v = zero(random) ? 0 : value(random) / 32.0;
  return x;
}

// Multiples of 1/32: every sum of products is exact, in any order.
template <class T>
void test_design() {
  const std::size_t n = 37, p = 53;
  std::vector<double> x = numbers(n * p, 1, 0.3);
  for (std::size_t i = 0; i < n; ++i) x[i * p + 5] = 1.5;  // a constant column
  const std::vector<double> u = numbers(n, 2), shift = numbers(p, 3), w = numbers(p, 4);
  for (const Layout layout : {Layout::kColumns, Layout::kRows, Layout::kApart, Layout::kBackward,
                              Layout::kUnaligned, Layout::kSparse}) {
    SCOPED_TRACE("layout " + std::to_string(static_cast<int>(layout)));
    Laid<T> laid;
    lay(x, n, p, layout, laid);
    const std::unique_ptr<Design> X = regkern::linear::make_design(laid.matrix);
    std::vector<double> g(p), some(p, -1), z(n), packed(n);
    X->correlate(u.data(), shift.data(), g.data());
    const std::vector<std::uint32_t> few = {0, 3, 4, 5, 17, 30, 52};
    X->correlate(few, u.data(), shift.data(), some.data());
    std::vector<std::size_t> all(p);
    for (std::size_t j = 0; j < p; ++j) all[j] = j;
    X->multiply(all, w.data(), z.data());
    const auto moments = X->moments(nullptr, u.data(), false), centred = X->moments(nullptr, u.data(), true);
    for (std::size_t j = 0; j < p; ++j) {
      double dot = 0, square = 0, sum = 0, with_u = 0, about = 0;
      for (std::size_t i = 0; i < n; ++i) {
        dot += u[i] * (x[i * p + j] - shift[j]);
        square += x[i * p + j] * x[i * p + j];
        sum += x[i * p + j];
        with_u += u[i] * x[i * p + j];
      }
      for (std::size_t i = 0; i < n; ++i) about += std::pow(x[i * p + j] - sum / static_cast<double>(n), 2);
      EXPECT_EQ(g[j], dot) << j;
      if (std::find(few.begin(), few.end(), j) != few.end()) {
        EXPECT_EQ(some[j], dot) << j;
      }
      EXPECT_EQ(moments.raw[j], square);
      EXPECT_EQ(moments.centred[j], square);
      EXPECT_EQ(moments.with_u[j], with_u);
      EXPECT_NEAR(centred.mean[j], sum / static_cast<double>(n), 1e-15);
      EXPECT_NEAR(centred.centred[j], about, 1e-12 * square);
      X->pack(j, u.data(), shift[j], {}, packed.data());
      for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(packed[i], u[i] * (x[i * p + j] - shift[j]));
      X->pack(j, nullptr, 0, {1, 4, 36}, packed.data());
      EXPECT_EQ(packed[2], x[36 * p + j]);
    }
    EXPECT_EQ(centred.centred[5], 0);
    for (std::size_t i = 0; i < n; ++i) {
      double sum = 0;
      for (std::size_t j = 0; j < p; ++j) sum += w[j] * x[i * p + j];
      ASSERT_EQ(z[i], sum);
    }
  }
}

TEST(Linear, AMatrixIsItsNumbersInEveryLayout) {
  for_isas_and_teams([] {
    test_design<float>();
    test_design<double>();
  });
}

TEST(Linear, TheQuadraticProblemEndsWhereNothingViolates) {
  regkern::tests::for_isas([] {
    std::mt19937 random(7);
    std::normal_distribution<double> normal;
    std::uniform_real_distribution<double> uniform;
    for (int trial = 0; trial < 60; ++trial) {
      SCOPED_TRACE("trial " + std::to_string(trial));
      const std::size_t k = 1 + random() % 60, rank = 1 + random() % (2 * k);
      std::vector<double> a(k * rank), y(rank);
      for (double& v : a) v = normal(random);
      for (double& v : y) v = normal(random);
      Quadratic problem;
      problem.gram().resize(k);
      std::vector<double> linear(k), tol(k);
      std::vector<Term> terms;
      for (std::size_t i = 0; i < k; ++i) {
        for (std::size_t j = 0; j < k; ++j) {
          double sum = 0;
          for (std::size_t m = 0; m < rank; ++m) sum += a[i * rank + m] * a[j * rank + m];
          problem.gram().row(i)[j] = sum;
        }
        for (std::size_t m = 0; m < rank; ++m) linear[i] += a[i * rank + m] * y[m];
        const double lo = uniform(random) < 0.3 ? -uniform(random) : -kInf;
        const double hi = uniform(random) < 0.3 ? uniform(random) : kInf;
        terms.push_back({uniform(random), uniform(random) < 0.5 ? 0 : uniform(random), lo, hi});
        problem.add(terms.back(), 0);
        tol[i] = 1e-9;
      }
      problem.c = linear;
      EXPECT_TRUE(problem.solve(tol));
      for (std::size_t i = 0; i < k; ++i) {
        double c = linear[i] - terms[i].b * problem.w[i];
        for (std::size_t j = 0; j < k; ++j) c -= problem.gram().row(i)[j] * problem.w[j];
        EXPECT_LE(regkern::linear::violation(terms[i], problem.w[i], c), 1e-8);
        EXPECT_GE(problem.w[i], terms[i].lo);
        EXPECT_LE(problem.w[i], terms[i].hi);
      }
    }
  });
}

// Columns of the identity: every coefficient is that of y, shrunk.
TEST(Linear, OrthogonalColumnsAreShrunkEachByItself) {
  for_isas_and_teams([] {
    const std::size_t n = 40;
    std::vector<double> x(n * n), y(n), coef(2 * n);
    for (std::size_t i = 0; i < n; ++i) x[i * n + i] = 1, y[i] = static_cast<double>(i) - 19.5;
    Laid<double> laid;
    lay(x, n, n, Layout::kRows, laid);
    regkern::linear::Problem problem{};
    problem.X = &laid.matrix;
    problem.y = y.data();
    problem.classes = 1;
    const double l1[] = {5, 2.25}, l2[] = {0, 1};
    regkern::linear::Found found[2];
    regkern::linear::solve(problem, {2, l1, l2}, nullptr, {1e-12, 100}, coef.data(), found, {});
    for (std::size_t k = 0; k < 2; ++k) {
      EXPECT_EQ(found[k].reason, regkern::linear::Reason::kConverged);
      for (std::size_t j = 0; j < n; ++j) {
        const double shrunk = std::copysign(std::max(std::abs(y[j]) - l1[k], 0.0), y[j]) / (1 + l2[k]);
        EXPECT_NEAR(coef[k * n + j], shrunk, 1e-13);
        EXPECT_EQ(coef[k * n + j] == 0, shrunk == 0);
      }
    }
  });
}

}  // namespace
