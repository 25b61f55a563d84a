// Optimizer steps by hand, over several arrays and groups.

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "regkern/optim.h"
#include "tests/common.h"

namespace regkern {
namespace {

using namespace tests;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(Optim, SgdByHandOverArraysOfTwoGroups) {
  for_isas([] {
    std::vector<double> w = {1.0, -0.05}, grad = {1.0, 0.0}, other = {3.0}, other_grad = {-2.0};
    std::vector<SgdOptions<double>> groups(2);
    groups[0].lr = 0.1;
    groups[0].threshold = 0.1;
    groups[0].prox = Prox::kEuclidean;
    groups[1].lr = 0.5;
    const std::vector<Parameter<double>> parameters = {
        {w.size(), {w.data()}, {grad.data()}, {}, 0},
        {std::size_t{0}, {}, {}, {}, 0},
        {other.size(), {other.data()}, {other_grad.data()}, {}, 1},
    };
    StepStats stats;
    step<double, SgdOptions>(parameters, groups, &stats);
    EXPECT_EQ(w[0], 1.0 - 0.1 * 1.0 - 0.1);
    EXPECT_EQ(w[1], 0.0);
    EXPECT_FALSE(std::signbit(w[1]));
    EXPECT_EQ(other[0], 4.0);
    EXPECT_EQ(stats.nonzeros, 2.0);
    EXPECT_EQ(gradient_norm<double>(parameters).squared, 5.0);
    grad[1] = static_cast<double>(kNan);
    EXPECT_FALSE(gradient_norm<double>(parameters).finite);
  });
}

}  // namespace
}  // namespace regkern
