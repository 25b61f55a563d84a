// The stream of random bits.

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "regkern/random.h"
#include "tests/common.h"

namespace regkern {
namespace {

using namespace tests;

// Random123's published vectors for philox4x32-10; block and stream are the halves of the counter.
TEST(Philox, KnownAnswers) {
  for_isas([] {
    std::vector<std::uint32_t> words(4);
    random_bits({0, 0}, 4, words.data());
    EXPECT_EQ(words, (std::vector<std::uint32_t>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    words.resize(10'000);
    random_bits({20111115, 0}, words.size(), words.data());
    EXPECT_EQ(words.back(), 1955073260u);  // C++26, [rand.predef]
  });
}

}  // namespace
}  // namespace regkern
