// Normalization of rows: the same bits everywhere.

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "regkern/layer_norm.h"
#include "tests/common.h"

namespace regkern {
namespace {

using namespace tests;

TEST(RowNorm, SameBitsForEveryIsaAndTeam) {
  for (const std::size_t length : {std::size_t{1}, std::size_t{31}, std::size_t{333}, std::size_t{5001}}) {
    const std::size_t count = 300'003 / length;
    const std::ptrdiff_t dims[] = {static_cast<std::ptrdiff_t>(count), static_cast<std::ptrdiff_t>(length)};
    const Extents extents(2, dims);
    const RowShape shape(extents, length, 1, length);
    const std::vector<float> x = ramp<float>(extents.size), gamma = ramp<float>(length);
    const auto all = [&] {
      std::vector<float> y(extents.size), h(extents.size), dx(extents.size);
      std::vector<double> mean(count), invstd(count), dgamma(length), dbeta(length);
      row_norm<float>(shape, {.centred = true,
                              .x = {x.data()},
                              .residual = {x.data()},
                              .h = {h.data()},
                              .y = {y.data()},
                              .gamma = gamma.data(),
                              .beta = gamma.data(),
                              .eps = 1e-5,
                              .mean = mean.data(),
                              .invstd = invstd.data()});
      row_norm_backward<float>(shape, {.centred = true,
                                       .dy = {x.data()},
                                       .x = {h.data()},
                                       .dx = {dx.data()},
                                       .gamma = gamma.data(),
                                       .mean = mean.data(),
                                       .invstd = invstd.data(),
                                       .dgamma = dgamma.data(),
                                       .dbeta = dbeta.data()});
      for (std::size_t c = 0; c < length; ++c) y[c] += static_cast<float>(dgamma[c] + dbeta[c]);
      y.insert(y.end(), dx.begin(), dx.end());
      return y;
    };
    const std::vector<float> first = all();
    for_isas([&] {
      for (const int team : {1, 2, 5}) {
        swap_local_threads({team});
        EXPECT_TRUE(same_bits(all(), first)) << length;
      }
    });
    swap_local_threads({});
  }
}

TEST(RowNorm, RootMeanSquareHasNoBeta) {
  for_isas([] {
    const std::ptrdiff_t dims[] = {3, 50};
    const Extents extents(2, dims);
    const RowShape shape(extents, 50, 1, 50);
    const std::vector<float> x = ramp<float>(150), gamma = ramp<float>(50);
    std::vector<float> with(150), without(150);
    std::vector<double> mean(3), invstd(3);
    RowNormForward<float> operands{.centred = false,
                                   .x = {x.data()},
                                   .residual = {},
                                   .h = {},
                                   .y = {with.data()},
                                   .gamma = gamma.data(),
                                   .beta = gamma.data(),
                                   .eps = 1e-5,
                                   .mean = mean.data(),
                                   .invstd = invstd.data()};
    row_norm(shape, operands);
    operands.y = {without.data()};
    operands.beta = nullptr;
    row_norm(shape, operands);
    EXPECT_TRUE(same_bits(with, without));
  });
}

}  // namespace
}  // namespace regkern
