// Batch normalization: by hand, in both layouts, and what the gradient is orthogonal to.

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "regkern/norm.h"
#include "tests/common.h"

namespace regkern {
namespace {

using namespace tests;

TEST(BatchNorm, ByHandInEveryLayout) {
  for_isas([] {
    // two channels: 1, 3 and 10, 30; planar (2, 2, 1 · 1) and (2, 2)
    const std::vector<double> x = {1, 10, 3, 30}, expected = {-1, -1, 1, 1};
    const std::ptrdiff_t dims[] = {2, 2};
    const ChannelShape shape({2, dims}, 1);
    std::vector<double> y(4), mean(2), var(2), invstd(2);
    batch_norm_train<double>(
        shape,
        {.x = {x.data()}, .y = {y.data()}, .mean = mean.data(), .var = var.data(), .invstd = invstd.data()});
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
    BatchNormTraining<float> operands{.x = {x.data()},
                                      .y = {y.data()},
                                      .eps = 1e-5,
                                      .mean = mean.data(),
                                      .var = var.data(),
                                      .invstd = invstd.data()};
    batch_norm_train({{3, planar}, 1}, operands);
    operands.x = {moved.data()};
    operands.y = {z.data()};
    batch_norm_train({{3, columns}, 2}, operands);
    for (std::size_t n = 0; n < 3; ++n)
      for (std::size_t c = 0; c < 5; ++c)
        for (std::size_t s = 0; s < 77; ++s)
          EXPECT_NEAR(y[(n * 5 + c) * 77 + s], z[(n * 77 + s) * 5 + c], 2e-7) << n << ' ' << c << ' ' << s;
  });
}

TEST(BatchNorm, GradientSumsToZero) {
  const std::ptrdiff_t dims[] = {6, 3, 50};
  const ChannelShape shape({3, dims}, 1);
  const std::vector<double> x = ramp<double>(900);
  std::vector<double> y(900), dx(900), mean(3), var(3), invstd(3), dgamma(3), dbeta(3);
  batch_norm_train<double>(
      shape,
      {.x = {x.data()}, .y = {y.data()}, .mean = mean.data(), .var = var.data(), .invstd = invstd.data()});
  std::vector<double> dy(900);
  for (std::size_t i = 0; i < 900; ++i) dy[i] = static_cast<double>((i * i) % 17) - 8;
  batch_norm_backward<double>(shape,
                              {.x = {x.data()},
                               .dy = {{dy.data()}},
                               .dx = {dx.data()},
                               .mean = mean.data(),
                               .invstd = invstd.data(),
                               .count = 300},
                              dgamma.data(), dbeta.data());
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
}  // namespace regkern
