// Dropout in one pass with its neighbours: the same bits everywhere.

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "regkern/dropout.h"
#include "regkern/fused.h"
#include "regkern/random.h"
#include "tests/common.h"

namespace regkern {
namespace {

using namespace tests;

TEST(Fused, SameBitsForEveryIsaAndTeam) {
  const std::ptrdiff_t dims[] = {700, 333};
  const Extents shape(2, dims);
  const std::vector<float> x = ramp<float>(shape.size), bias = ramp<float>(333), r(shape.size, 1.0f);
  const Bernoulli mask = bernoulli({1, 2}, 0.1);
  const auto all = [&] {
    std::vector<std::vector<float>> results(7, std::vector<float>(shape.size));
    bias_dropout_add<float>(shape, {x.data()}, bias.data(), {r.data()}, {results[0].data()}, mask, 1.5);
    bias_dropout_add_backward<float>(shape, {x.data()}, {results[0].data()}, results[1].data(), mask, 1.5);
    activation_dropout<float>(shape, Activation::kGelu, {x.data()}, {results[2].data()}, mask, 1.5);
    activation_dropout_backward<float>(shape, Activation::kGeluTanh, {r.data()}, {x.data()},
                                       {results[3].data()}, mask, 1.5);
    softmax_dropout<float>(shape, {x.data()}, {results[4].data()}, mask, 1.5);
    softmax_dropout_backward<float>(shape, {r.data()}, {x.data()}, {results[5].data()}, mask, 1.5);
    normal<float>(shape, {results[6].data()}, {3, 4});
    return results;
  };
  const auto first = all();
  for_isas([&] {
    for (const int team : {1, 2, 5}) {
      swap_local_threads({team});
      const auto again = all();
      for (std::size_t k = 0; k < first.size(); ++k) EXPECT_TRUE(same_bits(again[k], first[k])) << k;
    }
  });
  swap_local_threads({});
}

}  // namespace
}  // namespace regkern
