// What the C++ tests share: numbers to try, bits to compare, and every instruction set.

#ifndef REGKERN_TESTS_COMMON_H_
#define REGKERN_TESTS_COMMON_H_

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "regkern/runtime.h"

namespace regkern::tests {

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
  const std::string before = isa();
  for (const std::string& name : isas()) {
    ASSERT_TRUE(set_isa(name));
    SCOPED_TRACE(name);
    body();
  }
  set_isa(before);
}

}  // namespace regkern::tests

#endif  // REGKERN_TESTS_COMMON_H_
