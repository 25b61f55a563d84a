// Instruction sets: built, chosen, and unknown ones.

#include <gtest/gtest.h>

#include "regkern/runtime.h"

namespace regkern {
namespace {

TEST(Runtime, IsasAreBuiltAndChosen) {
  EXPECT_FALSE(isas().empty());
  EXPECT_EQ(isa(), isas().front());
  EXPECT_FALSE(set_isa("abacus"));
  EXPECT_FALSE(version().empty());
}

}  // namespace
}  // namespace regkern
