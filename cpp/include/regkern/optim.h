// Weight decay, and optimizer steps with the penalty fused in. Formulas: regkern/reference/optim.

#ifndef REGKERN_OPTIM_H_
#define REGKERN_OPTIM_H_

#include <array>
#include <cstddef>
#include <span>

#include "regkern/array.h"

namespace regkern {

// y = w·(1 − rate), to a unit in the last place also of a small rate; y may be w itself.
template <class T>
void l2_decay(const Extents& shape, In<T> w, Out<T> y, double rate);

enum class Decay { kNone, kCoupled, kDecoupled };
enum class Prox { kNone, kEuclidean, kDiagonal };

// What all rules share. Numbers are formed in double and rounded once, to T.
template <class T>
struct StepOptions {
  T scale = 1;         // of the gradient: −1 to maximize, below 1 in magnitude to clip
  T weight_decay = 0;  // coupled: what of w is added to the gradient; decoupled: what of w the step takes off
  T threshold = 0;     // lr·l1
  Decay decay = Decay::kNone;
  Prox prox = Prox::kNone;
  // StepStats::penalty is penalty_l1·‖w‖₁ + penalty_l2/2·‖w‖².
  double penalty_l1 = 0, penalty_l2 = 0;
};

template <class T>
struct SgdOptions : StepOptions<T> {  // state: buffer, or none
  T lr = 0;
  T momentum = 0;
  T undampened = 1;  // 1 − dampening
  bool nesterov = false;
};

template <class T>
struct AdamOptions : StepOptions<T> {  // state: exp_avg, exp_avg_sq, and max_exp_avg_sq for amsgrad
  T lr = 0;                            // divided by the bias correction of exp_avg
  T fresh1 = 0;                        // 1 − β₁
  T beta2 = 0;
  T fresh2 = 0;   // 1 − β₂
  T unbias2 = 1;  // 1/√(bias correction of exp_avg_sq)
  T eps = 0;
};

template <class T>
struct AdagradOptions : StepOptions<T> {  // state: square_sum
  T lr = 0;
  T eps = 0;
};

template <class T>
struct RmspropOptions : StepOptions<T> {  // state: square_avg; grad_avg if centered; buffer if momentum
  T lr = 0;
  T alpha = 0;
  T fresh = 0;  // 1 − α
  T eps = 0;
  T momentum = 0;
};

template <class T>
struct FtrlOptions : StepOptions<T> {  // state: z, n
  T alpha = 0;                         // 0: weights and states stay
  T beta = 0;
  T l1 = 0;
  T l2 = 0;
};

template <class T>
struct LionOptions : StepOptions<T> {  // state: exp_avg
  T lr = 0;
  T beta1 = 0;
  T fresh1 = 0;  // 1 − β₁
  T beta2 = 0;
  T fresh2 = 0;  // 1 − β₂
};

inline constexpr std::size_t kMaxStates = 3;

// One array of parameters with its gradient, which may be of half precision, and what its rule keeps beside
// it; a state without data is one that the options leave out, and without data of its gradient a parameter is
// left alone. Nothing that is written shares memory with anything else.
template <class T>
struct Parameter {
  Extents shape;
  InOut<T> w;
  In<T> grad;
  std::array<InOut<T>, kMaxStates> states;
  std::size_t group = 0;  // which options
  Out<T> rounded = {};    // of half precision, if it has data: there goes w after the step, rounded once
  bool follows = false;   // before step() w becomes what `rounded` holds, where it does not round to that
};

// A parameter of which more is to be done with the stepped weights before they may become its own.
template <class T>
struct Apart : Parameter<T> {
  InOut<T> stepped;
};

// Of all parameters after a step, also those left alone.
struct StepStats {
  double penalty = 0;
  double nonzeros = 0;
  double squared_change = 0;  // ‖Δw‖²
};

// One step of the rule that Options names, in place, over any number of parameters in one parallel region.
// `stats` may be null; its numbers are added to.
template <class T, template <class> class Options>
void step(std::span<const Parameter<T>> parameters, std::span<const Options<T>> groups, StepStats* stats);

// The same in two passes: the first writes `stepped` alone; the second steps the states, and weights become
// what `stepped` is by then. A step is computed twice, which takes less than copies of states.
template <class T, template <class> class Options>
void step_apart(std::span<const Apart<T>> parameters, std::span<const Options<T>> groups);
template <class T, template <class> class Options>
void put_back(std::span<const Apart<T>> parameters, std::span<const Options<T>> groups);

// Of a gradient √squared·2^exponent long; the exponent is 0 but where the squares leave the range of double.
struct GradientNorm {
  double squared = 0;
  bool finite = true;  // no NaN and no Inf
  int exponent = 0;

  // Of two parts. Where exponents differ, the square of one part is below a rounding error of the other's.
  friend GradientNorm operator+(const GradientNorm& a, const GradientNorm& b) {
    const bool finite = a.finite && b.finite;
    if (a.exponent == b.exponent) return {a.squared + b.squared, finite, a.exponent};
    const bool of_a = b.squared == 0 || (a.squared != 0 && a.exponent > b.exponent);
    return {of_a ? a.squared : b.squared, finite, of_a ? a.exponent : b.exponent};
  }
};

template <class T>
GradientNorm gradient_norm(std::span<const Parameter<T>> parameters);

}  // namespace regkern

#endif  // REGKERN_OPTIM_H_
