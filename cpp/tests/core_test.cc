// The C++ library without Python: formulas on small data, every instruction set, every thread count, odd
// strides.

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "regkern/dropout.h"
#include "regkern/fused.h"
#include "regkern/layer_norm.h"
#include "regkern/norm.h"
#include "regkern/optim.h"
#include "regkern/prox.h"
#include "regkern/random.h"
#include "regkern/runtime.h"

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

template <class T>
std::vector<T> ramp(std::size_t n) {
  std::vector<T> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<T>(static_cast<int>((i * 37) % 101) - 50) / T{16};
  return x;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// Runs body once for each instruction set of this machine.
template <class Body>
void for_isas(Body&& body) {
  const std::string before = regkern::isa();
  for (const std::string& name : regkern::isas()) {
    ASSERT_TRUE(regkern::set_isa(name));
    SCOPED_TRACE(name);
    body();
  }
  regkern::set_isa(before);
}

TEST(Runtime, IsasAreBuiltAndChosen) {
  EXPECT_FALSE(regkern::isas().empty());
  EXPECT_EQ(regkern::isa(), regkern::isas().front());
  EXPECT_FALSE(regkern::set_isa("abacus"));
  EXPECT_FALSE(regkern::version().empty());
}

TEST(Prox, SoftThresholdByHand) {
  for_isas([] {
    const std::vector<float> x = {-3, -1, -0.5f, -0.0f, 0, 0.25f, 1, 2, kInf, -kInf};
    const std::vector<float> expected = {-2, 0, 0, 0, 0, 0, 0, 1, kInf, -kInf};
    std::vector<float> y(x.size());
    regkern::prox_l1<float>(x.size(), {x.data()}, {y.data()}, 1.0f);
    EXPECT_TRUE(same_bits(y, expected));
    y[0] = kNan;
    regkern::prox_l1<float>(1, {y.data()}, {y.data()}, kInf);
    EXPECT_TRUE(std::isnan(y[0]));
  });
}

TEST(Prox, LengthsNeverReachBeyond) {
  for_isas([] {
    for (std::size_t n = 0; n < 70; ++n) {
      const std::vector<double> x = ramp<double>(n);
      std::vector<double> y(n + 2, 7.0);
      regkern::prox_ridge<double>(n, {x.data()}, {y.data() + 1}, 2.0);
      EXPECT_EQ(y.front(), 7.0);
      EXPECT_EQ(y.back(), 7.0);
      for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(y[i + 1], x[i] / 2 + 0.0);
    }
  });
}

TEST(Prox, StridedEqualsDense) {
  const std::ptrdiff_t dims[] = {30, 41};
  const std::vector<float> x = ramp<float>(30 * 41);
  std::vector<float> dense(x.size()), transposed(x.size()), back(x.size());
  regkern::prox_elastic_net<float>(x.size(), {x.data()}, {dense.data()}, 0.5f, 1.25f);
  const std::ptrdiff_t row[] = {41 * 4, 4}, column[] = {4, 30 * 4};
  regkern::prox_elastic_net<float>({2, dims}, {x.data(), row}, {transposed.data(), column}, 0.5f, 1.25f);
  for (std::size_t i = 0; i < 30; ++i) {
    for (std::size_t j = 0; j < 41; ++j) back[i * 41 + j] = transposed[j * 30 + i];
  }
  EXPECT_TRUE(same_bits(dense, back));
}

TEST(Norms, SameBitsForEveryIsaAndTeam) {
  const std::vector<float> x = ramp<float>(1'000'003);
  const double l1 = regkern::l1_norm<float>(x.size(), {x.data()});
  double plain = 0;
  for (const float v : x) plain += std::abs(static_cast<double>(v));
  EXPECT_EQ(l1, plain);  // sixteenths: every sum is exact
  const double l2 = regkern::squared_l2_norm<float>(x.size(), {x.data()});
  for_isas([&] {
    for (const int team : {1, 2, 3, 7}) {
      regkern::swap_local_threads(team);
      EXPECT_EQ(regkern::l1_norm<float>(x.size(), {x.data()}), l1);
      EXPECT_EQ(regkern::squared_l2_norm<float>(x.size(), {x.data()}), l2);
    }
  });
  regkern::swap_local_threads(0);
}

TEST(Optim, SgdByHandOverArraysOfTwoGroups) {
  for_isas([] {
    std::vector<double> w = {1.0, -0.05}, grad = {1.0, 0.0}, other = {3.0}, other_grad = {-2.0};
    std::vector<regkern::SgdOptions<double>> groups(2);
    groups[0].lr = 0.1;
    groups[0].threshold = 0.1;
    groups[0].prox = regkern::Prox::kEuclidean;
    groups[1].lr = 0.5;
    const std::vector<regkern::Parameter<double>> parameters = {
        {w.size(), {w.data()}, {grad.data()}, {}, 0},
        {std::size_t{0}, {}, {}, {}, 0},
        {other.size(), {other.data()}, {other_grad.data()}, {}, 1},
    };
    regkern::StepStats stats;
    regkern::step<double, regkern::SgdOptions>(parameters, groups, &stats);
    EXPECT_EQ(w[0], 1.0 - 0.1 * 1.0 - 0.1);
    EXPECT_EQ(w[1], 0.0);
    EXPECT_FALSE(std::signbit(w[1]));
    EXPECT_EQ(other[0], 4.0);
    EXPECT_EQ(stats.nonzeros, 2.0);
    EXPECT_EQ(regkern::gradient_norm<double>(parameters).squared, 5.0);
    grad[1] = static_cast<double>(kNan);
    EXPECT_FALSE(regkern::gradient_norm<double>(parameters).finite);
  });
}

// Random123's published vectors for philox4x32-10; block and stream are the halves of the counter.
TEST(Philox, KnownAnswers) {
  for_isas([] {
    std::vector<std::uint32_t> words(4);
    regkern::random_bits({0, 0}, 4, words.data());
    EXPECT_EQ(words, (std::vector<std::uint32_t>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    words.resize(10'000);
    regkern::random_bits({20111115, 0}, words.size(), words.data());
    EXPECT_EQ(words.back(), 1955073260u);  // C++26, [rand.predef]
  });
}

TEST(Dropout, EqualsItsMask) {
  for_isas([] {
    for (const std::size_t n : {std::size_t{1}, std::size_t{63}, std::size_t{5000}, std::size_t{300'001}}) {
      const regkern::Bernoulli mask = regkern::bernoulli({5, 6}, 0.3);
      std::vector<std::uint8_t> kept(n), bits((n + 7) / 8);
      regkern::keep_mask(mask, n, kept.data());
      regkern::keep_bits(mask, n, bits.data());
      const std::vector<float> x(n, 1.0f);
      std::vector<float> y(n), by_bytes(n), by_bits(n);
      const regkern::KeepMap map = regkern::inverted(mask);
      regkern::dropout<float>(n, {x.data()}, {y.data()}, mask, map);
      for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(y[i] != 0, kept[i] == 1) << i;
      regkern::dropout_by_bits<float>(n, {x.data()}, {by_bits.data()}, bits.data(), map);
      EXPECT_TRUE(same_bits(y, by_bits));
      const auto dim = static_cast<std::ptrdiff_t>(n);
      regkern::dropout_by_bytes<float>({1, &dim}, {x.data()}, {by_bytes.data()}, {kept.data()}, map);
      EXPECT_TRUE(same_bits(y, by_bytes));
    }
  });
}

TEST(Dropout, ThresholdIsExactAtTheEnds) {
  EXPECT_EQ(regkern::bernoulli({}, 0.0).keep, std::uint64_t{1} << 40);
  EXPECT_EQ(regkern::bernoulli({}, 1.0).keep, 0u);
  EXPECT_EQ(regkern::bernoulli({}, 0.5).keep, std::uint64_t{1} << 39);
}

TEST(Fused, SameBitsForEveryIsaAndTeam) {
  const std::ptrdiff_t dims[] = {700, 333};
  const regkern::Extents shape(2, dims);
  const std::vector<float> x = ramp<float>(shape.size), bias = ramp<float>(333), r(shape.size, 1.0f);
  const regkern::Bernoulli mask = regkern::bernoulli({1, 2}, 0.1);
  using regkern::Activation;
  const auto all = [&] {
    std::vector<std::vector<float>> results(7, std::vector<float>(shape.size));
    regkern::bias_dropout_add<float>(shape, {x.data()}, bias.data(), {r.data()}, {results[0].data()}, mask,
                                     1.5);
    regkern::bias_dropout_add_backward<float>(shape, {x.data()}, {results[0].data()}, results[1].data(), mask,
                                              1.5);
    regkern::activation_dropout<float>(shape, Activation::kGelu, {x.data()}, {results[2].data()}, mask, 1.5);
    regkern::activation_dropout_backward<float>(shape, Activation::kGeluTanh, {r.data()}, {x.data()},
                                                {results[3].data()}, mask, 1.5);
    regkern::softmax_dropout<float>(shape, {x.data()}, {results[4].data()}, mask, 1.5);
    regkern::softmax_dropout_backward<float>(shape, {r.data()}, {x.data()}, {results[5].data()}, mask, 1.5);
    regkern::normal<float>(shape, {results[6].data()}, {3, 4});
    return results;
  };
  const auto first = all();
  for_isas([&] {
    for (const int team : {1, 2, 5}) {
      regkern::swap_local_threads(team);
      const auto again = all();
      for (std::size_t k = 0; k < first.size(); ++k) EXPECT_TRUE(same_bits(again[k], first[k])) << k;
    }
  });
  regkern::swap_local_threads(0);
}

TEST(RowNorm, SameBitsForEveryIsaAndTeam) {
  for (const std::size_t length : {std::size_t{1}, std::size_t{31}, std::size_t{333}, std::size_t{5001}}) {
    const std::size_t count = 300'003 / length;
    const std::ptrdiff_t dims[] = {static_cast<std::ptrdiff_t>(count), static_cast<std::ptrdiff_t>(length)};
    const regkern::Extents extents(2, dims);
    const regkern::RowShape shape(extents, length, 1, length);
    const std::vector<float> x = ramp<float>(extents.size), gamma = ramp<float>(length);
    const auto all = [&] {
      std::vector<float> y(extents.size), h(extents.size), dx(extents.size);
      std::vector<double> mean(count), invstd(count), dgamma(length), dbeta(length);
      regkern::row_norm<float>(shape, true, {x.data()}, {x.data()}, {h.data()}, {y.data()}, gamma.data(),
                               gamma.data(), 1e-5, mean.data(), invstd.data());
      regkern::row_norm_backward<float>(shape, true, {x.data()}, {h.data()}, {dx.data()}, gamma.data(),
                                        mean.data(), invstd.data(), dgamma.data(), dbeta.data());
      for (std::size_t c = 0; c < length; ++c) y[c] += static_cast<float>(dgamma[c] + dbeta[c]);
      y.insert(y.end(), dx.begin(), dx.end());
      return y;
    };
    const std::vector<float> first = all();
    for_isas([&] {
      for (const int team : {1, 2, 5}) {
        regkern::swap_local_threads(team);
        EXPECT_TRUE(same_bits(all(), first)) << length;
      }
    });
    regkern::swap_local_threads(0);
  }
}

TEST(BatchNorm, ByHandInEveryLayout) {
  for_isas([] {
    // two channels: 1, 3 and 10, 30; planar (2, 2, 1 · 1) and (2, 2)
    const std::vector<double> x = {1, 10, 3, 30}, expected = {-1, -1, 1, 1};
    const std::ptrdiff_t dims[] = {2, 2};
    const regkern::ChannelShape shape({2, dims}, 1);
    std::vector<double> y(4), mean(2), var(2), invstd(2);
    regkern::batch_norm_train<double>(shape, {x.data()}, {}, {y.data()}, nullptr, nullptr, 0.0, mean.data(),
                                      var.data(), invstd.data());
    EXPECT_EQ(y, expected);
    EXPECT_EQ(mean, (std::vector<double>{2, 20}));
    EXPECT_EQ(var, (std::vector<double>{1, 100}));
  });
}

TEST(BatchNorm, PlanarAndColumnsAgree) {
  for_isas([] {
    const std::ptrdiff_t planar[] = {3, 5, 77}, columns[] = {3, 77, 5};
    const std::vector<float> x = ramp<float>(3 * 5 * 77);
    std::vector<float> moved(x.size()), y(x.size()), z(x.size());
    for (std::size_t n = 0; n < 3; ++n)
      for (std::size_t c = 0; c < 5; ++c)
        for (std::size_t s = 0; s < 77; ++s) moved[(n * 77 + s) * 5 + c] = x[(n * 5 + c) * 77 + s];
    std::vector<double> mean(5), var(5), invstd(5);
    regkern::batch_norm_train<float>({{3, planar}, 1}, {x.data()}, {}, {y.data()}, nullptr, nullptr, 1e-5,
                                     mean.data(), var.data(), invstd.data());
    regkern::batch_norm_train<float>({{3, columns}, 2}, {moved.data()}, {}, {z.data()}, nullptr, nullptr,
                                     1e-5, mean.data(), var.data(), invstd.data());
    for (std::size_t n = 0; n < 3; ++n)
      for (std::size_t c = 0; c < 5; ++c)
        for (std::size_t s = 0; s < 77; ++s)
          EXPECT_NEAR(y[(n * 5 + c) * 77 + s], z[(n * 77 + s) * 5 + c], 2e-7) << n << ' ' << c << ' ' << s;
  });
}

TEST(BatchNorm, GradientSumsToZero) {
  const std::ptrdiff_t dims[] = {6, 3, 50};
  const regkern::ChannelShape shape({3, dims}, 1);
  const std::vector<double> x = ramp<double>(900);
  std::vector<double> y(900), dx(900), mean(3), var(3), invstd(3), dgamma(3), dbeta(3);
  regkern::batch_norm_train<double>(shape, {x.data()}, {}, {y.data()}, nullptr, nullptr, 0.0, mean.data(),
                                    var.data(), invstd.data());
  std::vector<double> dy(900);
  for (std::size_t i = 0; i < 900; ++i) dy[i] = static_cast<double>((i * i) % 17) - 8;
  regkern::batch_norm_backward<double>(shape, {x.data()}, {{dy.data()}}, {}, {dx.data()}, {}, nullptr, 300,
                                       mean.data(), invstd.data(), true, dgamma.data(), dbeta.data());
  for (std::size_t c = 0; c < 3; ++c) {
    double sum = 0, dot = 0;
    for (std::size_t n = 0; n < 6; ++n) {
      for (std::size_t s = 0; s < 50; ++s) {
        const std::size_t i = (n * 3 + c) * 50 + s;
        sum += dx[i];
        dot += dx[i] * y[i];
      }
    }
    EXPECT_NEAR(sum, 0, 1e-11);
    EXPECT_NEAR(dot, 0, 1e-11);
  }
}

}  // namespace
