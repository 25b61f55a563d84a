// Mixup and cutmix: each sample of a batch with a part of another one, its partner. In place too, whoever the
// partners are.

#ifndef REGKERN_MIX_H_
#define REGKERN_MIX_H_

#include <cstddef>
#include <cstdint>

namespace regkern {

// n samples of any strides in bytes, 0 dimensions or more behind the first; y may be x itself (the same
// strides) or share no memory with it.
struct Batch {
  std::ptrdiff_t n;
  int ndim;                     // of a sample
  const std::ptrdiff_t* shape;  // of a sample
  const void* x;
  const std::ptrdiff_t* x_strides;  // ndim + 1, the first from sample to sample
  void* y;
  const std::ptrdiff_t* y_strides;
};

// y[i] = lam[i]·x[i] + (1 − lam[i])·x[partner[i]], both weights rounded to T (float for bytes) before they
// are used: two products and a sum. Bytes: floor(v + ½), saturated. T: std::uint8_t, float, double.
template <class T>
void mixup(const Batch& batch, const std::int64_t* partner, const double* lam);

// y[i] = x[i] with the rectangle {top, left, height, width} = boxes[4·i …], clipped to the image, of
// x[partner[i]]. A sample has shape (height, width, channels) or (channels, height, width).
template <class T>
void cutmix(const Batch& batch, const std::int64_t* partner, const std::int64_t* boxes, bool channels_last);

}  // namespace regkern

#endif  // REGKERN_MIX_H_
