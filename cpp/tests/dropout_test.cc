// Dropout and its masks.

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "regkern/dropout.h"
#include "tests/common.h"

namespace regkern {
namespace {

using namespace tests;

TEST(Dropout, EqualsItsMask) {
  for_isas([] {
    for (const std::size_t n : {std::size_t{1}, std::size_t{63}, std::size_t{5000}, std::size_t{300'001}}) {
      const Bernoulli mask = bernoulli({5, 6}, 0.3);
      std::vector<std::uint8_t> kept(n), bits((n + 7) / 8);
      keep_mask(mask, n, kept.data());
      keep_bits(mask, n, bits.data());
      const std::vector<float> x(n, 1.0f);
      std::vector<float> y(n), by_bytes(n), by_bits(n);
      const KeepMap map = inverted(mask);
      dropout<float>(n, {x.data()}, {y.data()}, mask, map);
      for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(y[i] != 0, kept[i] == 1) << i;
      dropout_by_bits<float>(n, {x.data()}, {by_bits.data()}, bits.data(), map);
      EXPECT_TRUE(same_bits(y, by_bits));
      const auto dim = static_cast<std::ptrdiff_t>(n);
      dropout_by_bytes<float>({1, &dim}, {x.data()}, {by_bytes.data()}, {kept.data()}, map);
      EXPECT_TRUE(same_bits(y, by_bytes));
    }
  });
}

TEST(Dropout, ThresholdIsExactAtTheEnds) {
  EXPECT_EQ(bernoulli({}, 0.0).keep, std::uint64_t{1} << 40);
  EXPECT_EQ(bernoulli({}, 1.0).keep, 0u);
  EXPECT_EQ(bernoulli({}, 0.5).keep, std::uint64_t{1} << 39);
}

}  // namespace
}  // namespace regkern
