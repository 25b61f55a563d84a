// What core/rows.cc hands to the kernels of rows-inl.h.

#ifndef REGKERN_KERNELS_ROWS_H_
#define REGKERN_KERNELS_ROWS_H_

namespace regkern {

// What the elements of a row stand for: themselves, or their magnitude.
enum class Values { kPlain, kMagnitudes };

}  // namespace regkern

#endif  // REGKERN_KERNELS_ROWS_H_
