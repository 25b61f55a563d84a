// What the kernels of the proximal operators and their callers share.

#ifndef REGKERN_KERNELS_PROX_H_
#define REGKERN_KERNELS_PROX_H_

namespace regkern {

// MCP and SCAD: 0 up to t, the soft threshold up to `knee`, from there (x − sign(x)·shift) / divisor, a
// steeper line that ends in y = x at `far`, and x beyond.
template <class T>
struct Firm {
  T t, knee, shift, divisor, far;
};

// y = soft threshold of x by `soft`, times a factor of its group: max(1 − t/‖·‖, 0), or min(1, t/‖·‖) if
// `ball`, with t = threshold, times the group's weight where there is one.
template <class T>
struct GroupRule {
  double threshold;
  T soft;
  bool ball;
};

// √Σx², where squares(c) is Σ(c·x)². Squares of float64 may leave the range or lose bits at its lower end: a
// power of two brings them back. Inlined, so that each instruction set has its own.
template <class Squares>
[[gnu::always_inline]] inline double norm_of(Squares squares) {
  const double plain = squares(1.0);
  if (!(plain < 1e-280 || plain > 1e300)) return __builtin_sqrt(plain);
  const double c = plain < 1 ? 0x1p600 : 0x1p-600;
  return __builtin_sqrt(squares(c)) / c;
}

}  // namespace regkern

#endif  // REGKERN_KERNELS_PROX_H_
