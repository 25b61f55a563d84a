// What the machine of augmentation calls on rows and images: one table of functions a pixel type, compiled
// for every instruction set, and the plain functions that make lookup tables and taps.
//
// Rows are interleaved or planar, aligned to T, and those of a picture all of one kind. A dense image is one
// long row for all that does not ask where a pixel is.

#ifndef REGKERN_KERNELS_AUGMENT_PIXELS_H_
#define REGKERN_KERNELS_AUGMENT_PIXELS_H_

#include <cstddef>
#include <cstdint>

#include "kernels/augment/pictures.h"
#include "regkern/augment.h"
#include "regkern/random.h"

namespace regkern::augment {

inline constexpr std::ptrdiff_t kLevels = 256;        // values of a byte: the length of a table
inline constexpr std::ptrdiff_t kMaxPermuted = 1024;  // channels of an image that kPermute meets

template <class T>  // std::uint8_t or float
struct PixelTable {
  // --- rows, in place ---
  // row = tables[row]; float: tables[floor(255·row + ½)] / 255, the row clamped to [0, 1] before. Table of
  // channel c: tables + (table_channels == 1 ? 0 : c·256).
  void (*look_up)(Row<T> row, const std::uint8_t* tables, std::ptrdiff_t table_channels);
  // Bytes only, nullptr for floats: out = table[x], both interleaved, or planes of one channel.
  void (*look_up_rows)(Picture<const T> x, const std::uint8_t* table, Picture<T> out, Streaming streaming);
  // kSaturation, kHue, kGrayscale, kPermute; float: kBrightness, kScale, kGamma, kPosterize, kSolarize,
  // kInvert too. `parameters` is the sample's row of Step::parameters. One channel: saturation, hue and
  // grayscale change nothing.
  void (*point)(Op op, Row<T> row, const double* parameters);
  // Float only, nullptr for bytes, which have tables. factor·row + (1 − factor)·mean, clamped to [0, 1].
  void (*contrast)(Row<T> row, double factor, double mean);
  // (row − low) / (high − low) with the numbers of each channel, clamped to [0, 1]; a channel with
  // low == high is only clamped.
  void (*autocontrast)(Row<T> row, const T* low, const T* high);
  // The row's first pixel is the one whose channel 0 takes number `first` of the stream. `clip`: float to
  // [0, 1].
  void (*noise)(Row<T> row, Stream source, std::uint64_t first, double mean, double sigma, bool clip);
  // `rows` are rows y … of an image of their width; box = {top, left, height, width} of the image, whole
  // numbers, clipped to it. No fill: 0.
  void (*erase)(Picture<T> rows, std::ptrdiff_t y, const double* box, FillMode mode, const double* fill,
                Stream source);

  // --- statistics of a whole image ---
  // Bytes count as tables[byte] where tables is not nullptr (as in look_up), so that pending tables need no
  // image. The mean luma of three channels, the mean of one; bytes: an exact sum, then / 65536 / pixels.
  double (*mean_luma)(Picture<const T> x, const std::uint8_t* tables, std::ptrdiff_t table_channels);
  // The least and the greatest value of each channel.
  void (*min_max)(Picture<const T> x, const std::uint8_t* tables, std::ptrdiff_t table_channels, T* low,
                  T* high);
  // counts[c·256 + v]: how many values v channel c has; float counts as floor(255·x + ½), x in [0, 1].
  void (*histogram)(Picture<const T> x, std::uint32_t* counts);

  // --- new images; out has the shape of x and shares no memory with it ---
  // Taps are odd in number. scratch: blur_scratch(…) floats.
  void (*blur)(Picture<const T> x, Picture<T> out, const float* taps_x, std::ptrdiff_t kx,
               const float* taps_y, std::ptrdiff_t ky, float* scratch);
  void (*sharpness)(Picture<const T> x, Picture<T> out, double factor);
};

// That of the instruction set in use.
template <class T>
const PixelTable<T>& pixel_table();

// --- tables for bytes: kLevels numbers each ---

// kBrightness, kPosterize, kSolarize, kInvert.
void make_table(Op op, const double* parameters, std::uint8_t* table);
void contrast_table(double factor, double mean, std::uint8_t* table);
void equalize_table(const std::uint32_t* counts, std::uint8_t* table);  // counts of one channel
void autocontrast_table(std::uint8_t low, std::uint8_t high, std::uint8_t* table);
// tables[c] = next[tables[c]] for c < channels: one step after another. `next` has next_channels tables, 1 or
// channels.
void compose_tables(std::uint8_t* tables, std::ptrdiff_t channels, const std::uint8_t* next,
                    std::ptrdiff_t next_channels);
// mapped: the counts of table[v], from those of v; one channel.
void count_through(const std::uint32_t* counts, const std::uint8_t* table, std::uint32_t* mapped);

// --- blur ---

// taps[0 … n): e^(−t²/2σ²), normalised; returns n = size, or 1 for σ = 0, where blur changes nothing.
std::ptrdiff_t gaussian_taps(std::ptrdiff_t size, double sigma, float* taps);
// Floats of scratch that blur needs.
std::ptrdiff_t blur_scratch(std::ptrdiff_t height, std::ptrdiff_t width, std::ptrdiff_t channels,
                            std::ptrdiff_t kx, std::ptrdiff_t ky);

}  // namespace regkern::augment

#endif  // REGKERN_KERNELS_AUGMENT_PIXELS_H_
