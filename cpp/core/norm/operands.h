// What is common to the passes of batch norm. For norm.cc, which has the table of kernels.

#ifndef REGKERN_CORE_NORM_OPERANDS_H_
#define REGKERN_CORE_NORM_OPERANDS_H_

#include <cstddef>

#include "core/channels.h"

namespace regkern {
namespace {

template <class T>
std::size_t bytes_of(const ChannelShape& s, std::size_t operands) {
  return s.shape.size * sizeof(T) * operands;
}

// The kernels that read and write all operands as they lie, where these are numbers of two bytes without
// gaps; else nullptr.
template <class Operand, class... More>
const HalfKernels* half_kernels(const Operand& operand, const More&... more) {
  const Storage storage = operand.packed();
  if (storage == Storage::kNative || !((more.packed() == storage) && ...)) return nullptr;
  const Table<float>& k = table<float>();
  const HalfKernels* const halves = storage == Storage::kBfloat16 ? k.bfloat16 : k.float16;
  return halves->apply == nullptr ? nullptr : halves;
}

}  // namespace
}  // namespace regkern

#endif  // REGKERN_CORE_NORM_OPERANDS_H_
