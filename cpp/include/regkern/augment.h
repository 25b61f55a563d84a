// Data augmentation of a batch of images: a program of steps, run for each sample by itself.
//
// A sample goes through the steps in order. Geometry is gathered into one read of its source, and whatever
// works pixel by pixel rides on that read, a row at a time, so the batch is read once and written once. A new
// image is made, in a scratch buffer that fits the cache, only before a step that needs all of it: one that
// looks at neighbours (blur), at the whole image (contrast) or at an image that pixel steps have changed (a
// warp behind a color step).
//
// Which geometry is gathered into one:
//   flip, rotate90 and crop are maps of whole rows and columns and compose exactly, with any padding;
//   a warp takes in the flips and rotations before it, the flips, rotations and in-bounds crops behind it,
//   and further warps of the same padding, fill and interpolation: matrices multiply, interpolation happens
//   once; a resize takes in the flips and crops behind it.
// All else starts from a new image. So the result is that of the steps one after another, but for chains of
// warps.

#ifndef REGKERN_AUGMENT_H_
#define REGKERN_AUGMENT_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace regkern::augment {

enum class Pixel { kUint8, kFloat32 };  // 0…255, 0…1

// What lies outside of an image: the fill, aaa|abcd|ddd, dcb|abcd|cba, cba|abcd|dcb.
enum class Padding { kConstant, kEdge, kReflect, kSymmetric };
enum class Interpolation { kNearest, kBilinear };

// n images of height × width pixels. Strides count bytes, may be negative and need not respect alignment.
struct Images {
  void* data;
  Pixel pixel;
  std::ptrdiff_t n, height, width, channels;
  std::ptrdiff_t stride_n, stride_y, stride_x, stride_c;
};

// The numbers in braces are a sample's row of Step::parameters.
enum class Op {
  // Geometry.
  kFlip,      // {horizontal, vertical}: 0 or 1
  kRotate90,  // {k}: quarter turns counterclockwise; height × width, the same for all
  kCrop,      // {top, left}: the corner of a window of height × width, which may lie outside; padding, fill
  kWarp,      // {m00 … m22}: column, row of output → input; height × width, padding, interpolation, fill
  kResize,    // {top, left, height, width}: a box in bounds, made height × width; interpolation, antialias
  // Pixel by pixel.
  kTable,       // Step::tables
  kBrightness,  // {factor}
  kScale,       // {factor}: x·factor, not clamped (float32)
  kGamma,       // {gamma, gain} (float32; a table does it for uint8)
  kPosterize,   // {bits}
  kSolarize,    // {threshold}
  kInvert,      // {}
  kSaturation,  // {factor}
  kHue,         // {shift}: turns, -0.5 … 0.5
  kGrayscale,   // {}
  kPermute,     // {c0 … c(channels-1)}: output channel i is input channel ci
  kNoise,       // {mean, sigma}: standard normal numbers of stream `index` of `seed`; clip
  kErase,       // {top, left, height, width}; fill_mode, fill
  kNormalize,   // {}: x·scale + bias of each channel, to float32
  // With a look at the whole image.
  kContrast,      // {factor}
  kEqualize,      // {}
  kAutocontrast,  // {}
  // With a look at the neighbours.
  kBlur,       // {sigma_x, sigma_y}; height × width is the size of the kernel
  kSharpness,  // {factor}
};

// What an erased rectangle is filled with: `fill`, one random color, or random pixels.
enum class FillMode { kConstant, kColor, kPixels };

struct Step {
  Op op;
  const double* parameters = nullptr;    // n × width
  std::ptrdiff_t width = 0;              // numbers a sample
  const std::uint8_t* active = nullptr;  // n; nullptr: all
  std::ptrdiff_t out_height = 0, out_width = 0;
  Padding padding = Padding::kConstant;
  Interpolation interpolation = Interpolation::kBilinear;
  bool antialias = false;
  bool clip = false;
  FillMode fill_mode = FillMode::kConstant;
  const double* fill = nullptr;          // channels
  const double* scale = nullptr;         // channels
  const double* bias = nullptr;          // channels
  const std::uint8_t* tables = nullptr;  // n × table_channels × 256
  std::ptrdiff_t table_channels = 1;     // 1 or channels
  std::uint64_t seed = 0;
  const std::uint64_t* index = nullptr;  // n
};

// y = the steps applied to x; y has the shape and pixel that the steps lead to, and shares no memory with x.
void run(const Images& x, std::span<const Step> steps, const Images& y);

// u[i, j]: the j-th of `count` uniform numbers of stream index[i] of `seed`.
void draws(std::uint64_t seed, const std::uint64_t* index, std::size_t n, std::size_t count, double* u);

}  // namespace regkern::augment

#endif  // REGKERN_AUGMENT_H_
