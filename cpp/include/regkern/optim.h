// Weight decay and the optimizer step with the penalty fused in. Formulas: regkern/reference/optim.py.

#ifndef REGKERN_OPTIM_H_
#define REGKERN_OPTIM_H_

#include "regkern/array.h"

namespace regkern {

// y = w·factor, the product taken in double; y may be w itself.
template <class T>
void l2_decay(const Extents& shape, In<T> w, Out<T> y, double factor);

enum class Decay { kNone, kCoupled, kDecoupled };

template <class T>
struct SgdOptions {
  T lr = 0;
  T momentum = 0;
  T undampened = 1;  // 1 − dampening
  T weight_decay = 0;
  T threshold = 0;  // lr·l1; the proximal step runs where `prox` says so
  Decay decay = Decay::kNone;
  bool nesterov = false;
  bool prox = false;
};

// One step in place. No two of w, grad and buffer share memory; buffer.data == nullptr: no momentum.
template <class T>
void sgd_step(const Extents& shape, InOut<T> w, In<T> grad, InOut<T> buffer, const SgdOptions<T>& options);

}  // namespace regkern

#endif  // REGKERN_OPTIM_H_
