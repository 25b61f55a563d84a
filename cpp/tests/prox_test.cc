// The proximal operators and norms: by hand, at every length, strided, and to the bit.

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "regkern/prox.h"
#include "tests/common.h"

namespace regkern {
namespace {

using namespace tests;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(Prox, SoftThresholdByHand) {
  for_isas([] {
    const std::vector<float> x = {-3, -1, -0.5f, -0.0f, 0, 0.25f, 1, 2, kInf, -kInf};
    const std::vector<float> expected = {-2, 0, 0, 0, 0, 0, 0, 1, kInf, -kInf};
    std::vector<float> y(x.size());
    prox_l1<float>(x.size(), {x.data()}, {y.data()}, 1.0f);
    EXPECT_TRUE(same_bits(y, expected));
    y[0] = kNan;
    prox_l1<float>(1, {y.data()}, {y.data()}, kInf);
    EXPECT_TRUE(std::isnan(y[0]));
  });
}

TEST(Prox, LengthsNeverReachBeyond) {
  for_isas([] {
    for (std::size_t n = 0; n < 70; ++n) {
      const std::vector<double> x = ramp<double>(n);
      std::vector<double> y(n + 2, 7.0);
      prox_ridge<double>(n, {x.data()}, {y.data() + 1}, 0.5);
      EXPECT_EQ(y.front(), 7.0);
      EXPECT_EQ(y.back(), 7.0);
      for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(y[i + 1], x[i] / 2 + 0.0);
    }
  });
}

TEST(Prox, WeightsMultiplyStrengths) {
  for_isas([] {
    for (std::size_t n = 0; n < 70; ++n) {
      const std::vector<double> x = ramp<double>(n);
      std::vector<double> weights(n), y(n + 2, 7.0), z(n + 2, 7.0);
      for (std::size_t i = 0; i < n; ++i) weights[i] = static_cast<double>(i % 3);
      prox_ridge<double>(n, {x.data()}, {y.data() + 1}, 1.0, {weights.data()});
      prox_elastic_net<double>(n, {x.data()}, {z.data() + 1}, kInf, 1.0, {weights.data()});
      for (const auto& written : {y, z}) {
        EXPECT_EQ(written.front(), 7.0);
        EXPECT_EQ(written.back(), 7.0);
      }
      for (std::size_t i = 0; i < n; ++i) {
        EXPECT_EQ(y[i + 1], x[i] / (1 + weights[i]) + 0.0);
        EXPECT_EQ(z[i + 1], weights[i] == 0 ? x[i] : 0.0);
      }
    }
  });
}

TEST(Prox, StridedEqualsDense) {
  const std::ptrdiff_t dims[] = {30, 41};
  const std::vector<float> x = ramp<float>(30 * 41);
  std::vector<float> dense(x.size()), transposed(x.size()), back(x.size());
  prox_elastic_net<float>(x.size(), {x.data()}, {dense.data()}, 0.5f, 0.8f);
  const std::ptrdiff_t row[] = {41 * 4, 4}, column[] = {4, 30 * 4};
  prox_elastic_net<float>({2, dims}, {x.data(), row}, {transposed.data(), column}, 0.5f, 0.8f);
  for (std::size_t i = 0; i < 30; ++i) {
    for (std::size_t j = 0; j < 41; ++j) back[i * 41 + j] = transposed[j * 30 + i];
  }
  EXPECT_TRUE(same_bits(dense, back));
}

TEST(Norms, SameBitsForEveryIsaAndTeam) {
  const std::vector<float> x = ramp<float>(1'000'003);
  const double l1 = l1_norm<float>(x.size(), {x.data()});
  double plain = 0;
  for (const float v : x) plain += std::abs(static_cast<double>(v));
  EXPECT_EQ(l1, plain);  // sixteenths: every sum is exact
  const double l2 = squared_l2_norm<float>(x.size(), {x.data()});
  for_isas([&] {
    for (const int team : {1, 2, 3, 7}) {
      swap_local_threads({team});
      EXPECT_EQ(l1_norm<float>(x.size(), {x.data()}), l1);
      EXPECT_EQ(squared_l2_norm<float>(x.size(), {x.data()}), l2);
    }
  });
  swap_local_threads({});
}

}  // namespace
}  // namespace regkern
