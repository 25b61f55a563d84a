// Arrays of any layout to dense buffers, and back.

#include "core/strided.h"

namespace regkern {

template <class T>
void read(const Extents& shape, In<T> from, T* to) {
  make_walk<1>(shape, Order::kC, {OperandLayout(from)}, sizeof(T))[0].gather(from.data, 0, shape.size, to);
}

template <class T>
void write(const Extents& shape, const T* from, Out<T> to) {
  make_walk<1>(shape, Order::kC, {OperandLayout(to)}, sizeof(T))[0].scatter(from, to.data, 0, shape.size);
}

template void read(const Extents&, In<float>, float*);
template void read(const Extents&, In<double>, double*);
template void write(const Extents&, const float*, Out<float>);
template void write(const Extents&, const double*, Out<double>);

}  // namespace regkern
