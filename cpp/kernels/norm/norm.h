// The coefficients that core/norm hands to the kernels beside it.

#ifndef REGKERN_KERNELS_NORM_NORM_H_
#define REGKERN_KERNELS_NORM_NORM_H_

#include <cstddef>
#include <cstdint>

namespace regkern {

inline constexpr std::size_t kMaxLanes = 16;  // float32 in 512 bits

// Neighbouring channels whose sums can be taken together.
inline constexpr std::size_t kMostChannels = 16;

// Rows of memory, `stride` elements from one to the next.
template <class T>
struct RowsOf {
  const T* data;
  std::ptrdiff_t stride;
};

// y = (x − mean)·scale + shift, a number a channel each. A mean that float32 cannot hold loses its last
// digits to `shift`. T is const where they are read.
template <class T>
struct AffineArrays {
  T *mean, *scale, *shift;
};

// dx = (dy − (a + (x − mean)·b))·scale; with weights w, dx = (dy − w·(a + (x − mean)·b))·scale.
template <class T>
struct GradientArrays {
  T *mean, *scale, *a, *b;
};

// What these come from: gamma may be nullptr, which is 1.
template <class T>
struct ChannelGradient {
  const double *mean, *invstd;
  const T* gamma;
  const double *sum_dy, *sum_dev;
};

// The operands of a gradient, over one piece of memory. w: nullptr where all weights are 1.
template <class T>
struct GradientPiece {
  const T *x, *dy, *w;
  T* dx;
};

// What follows the normalization of rows: v += residual, then the activation unless `linear`. `positive`
// takes a bit an element, 1 where not v <= 0, of each row from the lowest of a byte on. residual (of rows
// like those of y, which it may be) and positive: nullptr where there are none.
template <class T>
struct EpiloguePiece {
  const T* residual;
  bool linear;
  T slope;
  std::uint8_t* positive;
  std::size_t bit_row_bytes;
};

// The gradient before the activation, of rows: g = dy where the bit is 1, else slope·dy, and 0 at slope 0
// whatever dy is. Bit `first` of its row of bits belongs to the first element of a row; eight bytes behind
// the last can be read. g has rows at a step of its own, and may be dy. Rows of neighbouring channels lie
// side by side in dy, and at steps of their own in g and the bits.
template <class T>
struct GatePiece {
  RowsOf<T> dy;
  RowsOf<std::uint8_t> positive;
  std::size_t first;
  T slope;
  T* g;
  std::ptrdiff_t step;
  std::ptrdiff_t channel_step = 0, channel_bits = 0;
};

// The kernels that read and write numbers of two bytes as they lie, and calculate in float; nullptr where the
// instruction set does not convert them.
struct HalfKernels {
  using Half = std::uint16_t;
  using Rows = RowsOf<Half>;
  void (*moments)(Rows x, std::size_t channels, std::size_t rows, std::size_t cols, const double* shift,
                  double* sum, double* sum_sq);
  void (*gradient_sums)(Rows x, Rows dy, std::size_t channels, std::size_t rows, std::size_t cols,
                        const float* mean, double* sum, double* sum_dev);
  void (*column_moments)(Rows x, std::size_t rows, std::size_t cols, const double* shift, double* sum,
                         double* sum_sq);
  void (*column_gradient_sums)(Rows x, Rows dy, std::size_t rows, std::size_t cols, const float* mean,
                               double* sum, double* sum_dev);
  void (*apply)(const Half* x, Half* y, std::size_t rows, std::size_t cols,
                const AffineArrays<const float>& c, std::size_t first, bool stream);
  void (*apply_gradient)(const GradientPiece<Half>& p, std::size_t rows, std::size_t cols,
                         const GradientArrays<const float>& c, std::size_t first, bool stream);
  void (*apply_cyclic)(const Half* x, Half* y, std::size_t n, std::size_t phase, std::size_t period,
                       const AffineArrays<const float>& c, bool stream);
  void (*apply_gradient_cyclic)(const GradientPiece<Half>& p, std::size_t n, std::size_t phase,
                                std::size_t period, const GradientArrays<const float>& c, bool stream);
};

}  // namespace regkern

#endif  // REGKERN_KERNELS_NORM_NORM_H_
