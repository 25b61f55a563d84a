// The machine. A sample's geometry is kept as maps, a matrix or a resize, and what works pixel by pixel as a
// list; both are carried out when rows are pulled, into the output or, before a step that needs a whole image,
// into one that fits the cache.

#include "regkern/augment.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

#include "core/threading.h"
#include "kernels/augment.h"
#include "kernels/augment_geometry.h"
#include "kernels/augment_pixels.h"
#include "regkern/random.h"

namespace regkern::augment {
namespace {

struct Size {
  std::ptrdiff_t height, width;
  std::ptrdiff_t pixels() const { return height * width; }
};

template <class T>
constexpr Pixel kPixel = sizeof(T) == 1 ? Pixel::kUint8 : Pixel::kFloat32;

std::ptrdiff_t bytes_of(Pixel pixel) { return pixel == Pixel::kUint8 ? 1 : 4; }

std::uint8_t to_byte(double v) { return static_cast<std::uint8_t>(std::clamp(std::floor(v + 0.5), 0.0, 255.0)); }

// Memory that nobody has written yet: a thread's share of it is allocated before the threads start, and costs
// nothing where no step needs it.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::ptrdiff_t n) : data_(std::make_unique_for_overwrite<T[]>(static_cast<std::size_t>(n))) {}
  T* data() const { return data_.get(); }
  T& operator[](std::ptrdiff_t i) const { return data_[static_cast<std::size_t>(i)]; }

 private:
  std::unique_ptr<T[]> data_;
};

// --- axes ---

Axis whole_axis(std::ptrdiff_t length) { return {length, 0, length, 0, 1, nullptr}; }

Maps whole(Size size) { return {whole_axis(size.height), whole_axis(size.width), false}; }

bool is_whole(const Axis& axis, std::ptrdiff_t length) {
  return axis.length == length && axis.is_run() && axis.first == 0 && axis.step == 1;
}

// Which of n places i is; kOutside: the fill.
std::ptrdiff_t padded(std::ptrdiff_t i, std::ptrdiff_t n, Padding padding) {
  if (i >= 0 && i < n) return i;
  const auto modulo = [i](std::ptrdiff_t period) { return ((i % period) + period) % period; };
  switch (padding) {
    case Padding::kConstant:
      return kOutside;
    case Padding::kEdge:
      return i < 0 ? 0 : n - 1;
    case Padding::kReflect: {
      if (n == 1) return 0;
      const std::ptrdiff_t at = modulo(2 * (n - 1));
      return std::min(at, 2 * (n - 1) - at);
    }
    case Padding::kSymmetric:
      break;
  }
  const std::ptrdiff_t at = modulo(2 * n);
  return std::min(at, 2 * n - 1 - at);
}

// An axis and memory for its map: two, since a new map is made from the old one.
class AxisMaker {
 public:
  explicit AxisMaker(std::ptrdiff_t longest) : length_(longest), memory_(2 * longest) {}

  void flip(Axis& axis) {
    if (!axis.is_run()) {
      std::int32_t* map = memory_.data() + (axis.map == memory_.data() ? 0 : length_);
      std::reverse(map, map + axis.length);
    }
    axis.first += axis.step * (axis.end - axis.begin - 1);
    axis.step = -axis.step;
    const std::ptrdiff_t begin = axis.length - axis.end;
    axis.end = axis.length - axis.begin;
    axis.begin = begin;
  }

  void crop(Axis& axis, std::ptrdiff_t at, std::ptrdiff_t length, Padding padding) {
    Axis next;
    next.length = length;
    const std::ptrdiff_t low = std::max(at, axis.begin), high = std::min(at + length, axis.end);
    if (low < high) {
      next.begin = low - at;
      next.end = high - at;
      next.first = axis.first + axis.step * (low - axis.begin);
      next.step = axis.step;
    }
    if (!next.is_run()) {
      remap(axis, next, [&](std::ptrdiff_t i) { return padded(at + i, axis.length, padding); });
    }
    axis = next;
  }

  // Nearest neighbours of `size` places in a box.
  void resize(Axis& axis, std::ptrdiff_t at, std::ptrdiff_t box, std::ptrdiff_t size) {
    if (size == box) return crop(axis, at, size, Padding::kConstant);
    Axis next;
    next.length = size;
    const double scale = static_cast<double>(box) / static_cast<double>(size);
    remap(axis, next, [&](std::ptrdiff_t i) {
      const double place = std::floor((static_cast<double>(i) + 0.5) * scale);
      return at + std::min(static_cast<std::ptrdiff_t>(place), box - 1);
    });
    axis = next;
  }

 private:
  template <class Place>
  void remap(const Axis& axis, Axis& next, Place place) {
    std::int32_t* map = memory_.data() + (axis.map == memory_.data() ? length_ : 0);
    const auto fill = [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
      for (std::ptrdiff_t i = begin; i < end; ++i) {
        const std::ptrdiff_t from = place(i);
        map[i] = from == kOutside ? kOutside : static_cast<std::int32_t>(axis.from(from));
      }
    };
    fill(0, next.begin);
    fill(next.end, next.length);
    next.map = map;
  }

  std::ptrdiff_t length_;
  Buffer<std::int32_t> memory_;
};

// --- matrices ---

using Matrix = std::array<double, 9>;

Matrix normalized(const Matrix& m) {
  if (m[6] != 0 || m[7] != 0) return m;
  Matrix n;
  for (std::size_t i = 0; i < 9; ++i) n[i] = m[i] / m[8];
  return n;
}

Matrix product(const Matrix& a, const Matrix& b) {
  Matrix c;
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t j = 0; j < 3; ++j) {
      c[3 * i + j] = a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j];
    }
  }
  return normalized(c);
}

Matrix flip_matrix(bool horizontal, bool vertical, Size size) {
  Matrix m = {1, 0, 0, 0, 1, 0, 0, 0, 1};
  if (horizontal) m[0] = -1, m[2] = static_cast<double>(size.width - 1);
  if (vertical) m[4] = -1, m[5] = static_cast<double>(size.height - 1);
  return m;
}

// k quarter turns of an image of a size before the turn.
Matrix rotate90_matrix(int k, Size size) {
  Matrix m = {1, 0, 0, 0, 1, 0, 0, 0, 1};
  for (; k != 0; --k) {
    m = product(m, {0, -1, static_cast<double>(size.width - 1), 1, 0, 0, 0, 0, 1});
    size = {size.width, size.height};
  }
  return m;
}

// Flips and quarter turns behind each other: rows and columns change places, then are flipped.
struct Turn {
  bool swap = false, flip_rows = false, flip_columns = false;

  bool any() const { return swap || flip_rows || flip_columns; }
  void flip(bool horizontal, bool vertical) {
    flip_columns ^= horizontal;
    flip_rows ^= vertical;
  }
  void rotate90(int k) {
    for (; k != 0; --k) *this = {!swap, !flip_columns, flip_rows};
  }
  // From the result, of a size, to the image before it.
  Matrix matrix(Size size) const {
    Matrix m = flip_matrix(flip_columns, flip_rows, size);
    if (swap) {
      for (std::size_t j = 0; j < 3; ++j) std::swap(m[j], m[3 + j]);
    }
    return m;
  }
};

// --- what is the same for all samples ---

constexpr std::ptrdiff_t kTileBytes = 16 << 10;  // of rows that pixel steps pass over, one after the other

struct Prepared {
  const Step* step;
  Size before, after;
  Pixel pixel;                        // before
  std::vector<std::uint8_t> fill_u8;  // one number a channel
  std::vector<float> fill_f32, scale, bias;
  std::vector<double> fill_f64;

  const void* fill() const {
    return pixel == Pixel::kUint8 ? static_cast<const void*>(fill_u8.data())
                                  : static_cast<const void*>(fill_f32.data());
  }
};

bool changes_size(Op op) {
  return op == Op::kRotate90 || op == Op::kCrop || op == Op::kWarp || op == Op::kResize;
}

std::ptrdiff_t most_taps(std::ptrdiff_t box, std::ptrdiff_t size) {
  const std::ptrdiff_t scale = std::max<std::ptrdiff_t>((box + size - 1) / size, 1);
  return 2 * scale + 2;
}

struct Program {
  Program(const Images& images, std::span<const Step> steps) : x(images) {
    Size size{x.height, x.width};
    Pixel pixel = x.pixel;
    prepared.reserve(steps.size());
    image_floats = size.pixels() * x.channels;
    widest = std::max(size.width, size.height);
    double cost = static_cast<double>(image_floats * bytes_of(pixel));
    for (const Step& step : steps) {
      Prepared p{&step, size, size, pixel, {}, {}, {}, {}, {}};
      for (std::ptrdiff_t c = 0; c < x.channels; ++c) {
        const double fill = step.fill == nullptr ? 0 : step.fill[c];
        p.fill_u8.push_back(to_byte(fill));
        p.fill_f32.push_back(static_cast<float>(fill));
        p.fill_f64.push_back(fill);
        if (step.op == Op::kNormalize) {
          p.scale.push_back(static_cast<float>(step.scale[c]));
          p.bias.push_back(static_cast<float>(step.bias[c]));
        }
      }
      if (changes_size(step.op)) p.after = size = {step.out_height, step.out_width};
      if (step.op == Op::kNormalize) pixel = Pixel::kFloat32;
      if (step.op == Op::kBlur) {
        most_blur_taps = std::max({most_blur_taps, step.out_height, step.out_width});
        blur_floats =
            std::max(blur_floats, blur_scratch(size.height, size.width, x.channels, step.out_width, step.out_height));
      }
      if (step.op == Op::kResize && step.interpolation == Interpolation::kBilinear) {
        resizes = true;
        across_taps = std::max(across_taps, most_taps(p.before.width, p.after.width));
        down_taps = std::max(down_taps, most_taps(p.before.height, p.after.height));
      }
      widest = std::max({widest, size.width, size.height});
      const std::ptrdiff_t bytes = size.pixels() * x.channels * bytes_of(pixel);
      image_floats = std::max(image_floats, size.pixels() * x.channels);
      const bool dear = step.op == Op::kWarp || step.op == Op::kResize || step.op >= Op::kSaturation;
      cost += static_cast<double>(bytes) * (dear ? 8 : 1);
      prepared.push_back(std::move(p));
    }
    const double all = cost * static_cast<double>(x.n);
    team = threading::team_for(static_cast<std::size_t>(std::min(all, 1e15)));
    team = static_cast<int>(std::min<std::ptrdiff_t>(team, x.n));
  }

  Images x;
  std::vector<Prepared> prepared;
  std::ptrdiff_t image_floats, widest;  // the largest image and side on the way
  std::ptrdiff_t most_blur_taps = 0, blur_floats = 0, across_taps = 0, down_taps = 0;
  bool resizes = false;
  int team;
};

// --- a sample on its way ---

// An image whose type is known at run time. Strides count elements.
struct Source {
  const void* data;
  Pixel pixel;
  Size size;
  std::ptrdiff_t row_stride, pixel_stride, channel_stride;
};

// Whether a row of it is what the kernels call a row.
bool is_row(std::ptrdiff_t channels, std::ptrdiff_t pixel_stride, std::ptrdiff_t channel_stride) {
  return pixel_stride == 1 || (channel_stride == 1 && pixel_stride == channels);
}

template <class T>
bool is_interleaved(const Picture<T>& p) {
  return p.channel_stride == 1 && p.pixel_stride == p.channels;
}

template <class A, class B>
bool alike(const Picture<A>& a, const Picture<B>& b) {
  return a.channels == 1 ? a.pixel_stride == b.pixel_stride : is_interleaved(a) == is_interleaved(b);
}

template <class T>
Picture<T> rows_of(Picture<T> p, std::ptrdiff_t y, std::ptrdiff_t n) {
  p.data += y * p.row_stride;
  p.height = n;
  return p;
}

// One pixel step, ready to be applied to rows.
struct PixelStep {
  Op op;  // kTable for all that became a table
  const Prepared* prepared;
  const double* parameters;
  std::uint8_t* tables;  // kTable, kEqualize
  std::ptrdiff_t table_channels;
  double mean;              // kContrast
  const float *low, *high;  // kAutocontrast
  Stream stream;
};


class Worker {
 public:
  Worker(const Program& p, const Images& y)
      : program_(p),
        y_(y),
        channels_(p.x.channels),
        rows_(p.widest),
        columns_(p.widest),
        images_{Buffer<float>(p.image_floats), Buffer<float>(p.image_floats)},
        tables_(static_cast<std::ptrdiff_t>(p.prepared.size() + 1) * channels_ * kLevels),
        extremes_(static_cast<std::ptrdiff_t>(p.prepared.size() + 1) * 2 * channels_),
        counts_(channels_ * kLevels),
        tile_(kTileBytes / 4 + p.widest * channels_),
        float_tile_(kTileBytes + p.widest * channels_),
        taps_(2 * p.most_blur_taps),
        blur_scratch_(p.blur_floats),
        places_{Buffer<std::int32_t>(p.resizes ? 2 * p.widest : 0),
                Buffer<std::int32_t>(p.resizes ? 2 * p.widest : 0)},
        weights_{Buffer<float>(p.widest * p.across_taps), Buffer<float>(p.widest * p.down_taps)},
        real_weights_(std::max(p.across_taps, p.down_taps)),
        ring_(p.down_taps * p.widest * channels_),
        ring_rows_(p.down_taps),
        ring_pointers_(p.down_taps) {
    steps_.reserve(p.prepared.size());
  }

  void run(std::ptrdiff_t sample) {
    start(sample);
    for (const Prepared& p : program_.prepared) {
      if (p.step->active != nullptr && p.step->active[sample] == 0) continue;
      apply(p, sample);
    }
    finish(sample);
  }

 private:
  // --- steps ---

  void start(std::ptrdiff_t sample) {
    const Images& x = program_.x;
    const char* data = static_cast<const char*>(x.data) + sample * x.stride_n;
    const std::ptrdiff_t size = bytes_of(x.pixel);
    source_ = {data, x.pixel, {x.height, x.width}, x.stride_y / size, x.stride_x / size, x.stride_c / size};
    scratch_ = -1;
    if (channels_ == 1) source_.channel_stride = 1;
    if (x.width == 1) source_.pixel_stride = source_.channel_stride == 1 ? channels_ : 1;
    const std::ptrdiff_t all = sample * x.stride_n | x.stride_y | x.stride_x | x.stride_c |
                               static_cast<std::ptrdiff_t>(reinterpret_cast<std::uintptr_t>(x.data));
    if (all % size != 0 || !is_row(channels_, source_.pixel_stride, source_.channel_stride)) {
      // Any other memory is put in order first.
      if (x.pixel == Pixel::kUint8) {
        copy_elements<std::uint8_t>(data);
      } else {
        copy_elements<float>(data);
      }
    }
    reset();
  }

  // Pending: nothing.
  void reset() {
    kind_ = Kind::kMaps;
    size_ = source_.size;
    maps_ = whole(size_);
    outside_ = nullptr;
    turn_ = {};
    steps_.clear();
    normalize_ = nullptr;
    normalize_at_ = 0;
  }

  template <class T>
  void copy_elements(const char* data) {
    const Images& x = program_.x;
    const Picture<T> to = scratch<T>(source_.size, true);
    for (std::ptrdiff_t y = 0; y < x.height; ++y) {
      for (std::ptrdiff_t i = 0; i < x.width; ++i) {
        T* const pixel = to.data + y * to.row_stride + i * to.pixel_stride;
        const char* const from = data + y * x.stride_y + i * x.stride_x;
        for (std::ptrdiff_t c = 0; c < channels_; ++c) std::memcpy(pixel + c, from + c * x.stride_c, sizeof(T));
      }
    }
    become_scratch(to);
  }

  Pixel pixel() const { return normalize_ != nullptr ? Pixel::kFloat32 : source_.pixel; }

  void apply(const Prepared& p, std::ptrdiff_t sample) {
    const Step& step = *p.step;
    const double* parameters = step.parameters + sample * step.width;
    switch (step.op) {
      case Op::kFlip:
        return flip(parameters[0] != 0, parameters[1] != 0);
      case Op::kRotate90:
        return rotate90(((static_cast<int>(parameters[0]) % 4) + 4) % 4);
      case Op::kCrop:
        return crop(p, static_cast<std::ptrdiff_t>(parameters[0]), static_cast<std::ptrdiff_t>(parameters[1]));
      case Op::kWarp:
        return warp(p, parameters);
      case Op::kResize:
        return resize(p, parameters);
      case Op::kBlur:
      case Op::kSharpness:
        if (pixel() == Pixel::kUint8) return filter<std::uint8_t>(p, parameters);
        return filter<float>(p, parameters);
      case Op::kNormalize:
        if (normalize_ == nullptr) {
          normalize_ = &p;
          normalize_at_ = steps_.size();
          return;
        }
        steps_.push_back({step.op, &p, parameters, nullptr, 0, 0, nullptr, nullptr, {}});
        return;
      default:
        if (pixel() == Pixel::kUint8) return add_step<std::uint8_t>(p, parameters, sample);
        return add_step<float>(p, parameters, sample);
    }
  }

  void flip(bool horizontal, bool vertical) {
    if (!horizontal && !vertical) return;
    settle_pixels();
    if (kind_ == Kind::kWarp) {
      matrix_ = product(matrix_, flip_matrix(horizontal, vertical, size_));
      return;
    }
    if (horizontal) columns_.flip(maps_.columns);
    if (vertical) rows_.flip(maps_.rows);
    turn_.flip(horizontal, vertical);
  }

  void rotate90(int k) {
    if (k == 0) return;
    settle_pixels();
    if (kind_ == Kind::kResize && k % 2 != 0) settle();
    if (kind_ == Kind::kWarp) {
      matrix_ = product(matrix_, rotate90_matrix(k, size_));
    } else {
      turn_maps(k);
      turn_.rotate90(k);
    }
    if (k % 2 != 0) std::swap(size_.height, size_.width);
  }

  // A map of rows and the memory it lies in change places together.
  void swap_axes() {
    std::swap(maps_.rows, maps_.columns);
    std::swap(rows_, columns_);
    maps_.swapped = !maps_.swapped;
  }

  void turn_maps(int k) {
    if (k == 2) {
      columns_.flip(maps_.columns);
      rows_.flip(maps_.rows);
      return;
    }
    swap_axes();
    if (k == 1) rows_.flip(maps_.rows);
    if (k == 3) columns_.flip(maps_.columns);
  }

  void crop(const Prepared& p, std::ptrdiff_t top, std::ptrdiff_t left) {
    const Step& step = *p.step;
    const Size to = p.after;
    const bool inside =
        top >= 0 && left >= 0 && top + to.height <= size_.height && left + to.width <= size_.width;
    settle_pixels();
    if (kind_ == Kind::kWarp) {
      if (inside) {
        matrix_ = product(matrix_, {1, 0, static_cast<double>(left), 0, 1, static_cast<double>(top), 0, 0, 1});
        size_ = to;
        return;
      }
      settle();
    }
    if (!inside && step.padding == Padding::kConstant) {
      if (outside_ != nullptr && !same_fill(*outside_->step, step)) settle();
      outside_ = &p;
    }
    rows_.crop(maps_.rows, top, to.height, step.padding);
    columns_.crop(maps_.columns, left, to.width, step.padding);
    size_ = to;
    turn_ = {};
  }

  bool same_fill(const Step& a, const Step& b) const {
    for (std::ptrdiff_t c = 0; c < channels_; ++c) {
      if ((a.fill == nullptr ? 0 : a.fill[c]) != (b.fill == nullptr ? 0 : b.fill[c])) return false;
    }
    return true;
  }

  void warp(const Prepared& p, const double* parameters) {
    const Step& step = *p.step;
    Matrix m;
    std::copy_n(parameters, 9, m.begin());
    m = normalized(m);
    settle_pixels();
    if (kind_ == Kind::kWarp) {
      const Step& before = *warped_->step;
      if (before.padding != step.padding || before.interpolation != step.interpolation || !same_fill(before, step)) {
        settle();
      }
    }
    if (kind_ == Kind::kWarp) {
      matrix_ = product(matrix_, m);
    } else {
      const Turn turn = turn_;
      const Size size = size_;
      undo_turn();
      settle();
      matrix_ = turn.any() ? product(turn.matrix(size), m) : m;
    }
    kind_ = Kind::kWarp;
    warped_ = &p;
    size_ = p.after;
  }

  void undo_turn() {
    if (turn_.flip_rows) rows_.flip(maps_.rows);
    if (turn_.flip_columns) columns_.flip(maps_.columns);
    if (turn_.swap) {
      swap_axes();
      std::swap(size_.height, size_.width);
    }
    turn_ = {};
  }

  void resize(const Prepared& p, const double* parameters) {
    std::array<std::ptrdiff_t, 4> box;
    for (std::size_t i = 0; i < 4; ++i) box[i] = static_cast<std::ptrdiff_t>(parameters[i]);
    settle_pixels();
    if (p.step->interpolation == Interpolation::kNearest) {
      if (kind_ != Kind::kMaps) settle();
      rows_.resize(maps_.rows, box[0], box[2], p.after.height);
      columns_.resize(maps_.columns, box[1], box[3], p.after.width);
      turn_ = {};
    } else {
      settle();
      kind_ = Kind::kResize;
      resized_ = &p;
      box_ = box;
      maps_ = whole(p.after);
    }
    size_ = p.after;
  }

  // --- whole images ---

  // Pixel steps pending: a new image.
  void settle_pixels() {
    if (!steps_.empty() || normalize_ != nullptr) materialize();
  }

  // Nothing pending but the identity: a part of the source itself where it is one, else a new image.
  void settle() {
    if (kind_ == Kind::kMaps && steps_.empty() && normalize_ == nullptr && is_view()) {
      if (is_whole(maps_.rows, source_.size.height) && is_whole(maps_.columns, source_.size.width)) return;
      if (source_.pixel == Pixel::kUint8) {
        become(view<std::uint8_t>());
      } else {
        become(view<float>());
      }
      reset();
    } else {
      materialize();
    }
  }

  // Rows of the source are rows of the result, or parts of them.
  bool is_view() const {
    return kind_ == Kind::kMaps && !maps_.swapped && maps_.rows.is_run() && maps_.columns.is_run() &&
           maps_.columns.step == 1;
  }

  template <class T>
  Picture<const T> source() const {
    return {static_cast<const T*>(source_.data), source_.size.height, source_.size.width, channels_,
            source_.row_stride,                  source_.pixel_stride, source_.channel_stride};
  }

  template <class T>
  Picture<const T> view() const {
    Picture<const T> p = source<T>();
    p.data += maps_.rows.first * p.row_stride + maps_.columns.first * p.pixel_stride;
    p.row_stride *= maps_.rows.step;
    p.height = size_.height;
    p.width = size_.width;
    return p;
  }

  template <class T>
  void become(const Picture<T>& p) {
    source_ = {p.data, kPixel<std::remove_const_t<T>>, {p.height, p.width}, p.row_stride, p.pixel_stride,
               p.channel_stride};
  }

  // Of an image that scratch() has given.
  template <class T>
  void become_scratch(const Picture<T>& p) {
    become(p);
    scratch_ = scratch_ == 0 ? 1 : 0;
  }

  // A dense image in the memory that the source is not in.
  template <class T>
  Picture<T> scratch(Size size, bool interleaved) {
    T* const data = reinterpret_cast<T*>(images_[scratch_ == 0 ? 1 : 0].data());
    if (interleaved) {
      return {data, size.height, size.width, channels_, size.width * channels_, channels_, 1};
    }
    return {data, size.height, size.width, channels_, size.width, 1, size.pixels()};
  }

  bool source_interleaved() const { return source_.channel_stride == 1 && source_.pixel_stride == channels_; }

  void materialize() {
    if (pixel() == Pixel::kUint8) {
      const auto to = scratch<std::uint8_t>(size_, source_interleaved());
      pull(to);
      become_scratch(to);
    } else {
      const auto to = scratch<float>(size_, source_interleaved());
      pull(to);
      become_scratch(to);
    }
    reset();
  }

  void finish(std::ptrdiff_t sample) {
    char* const data = static_cast<char*>(y_.data) + sample * y_.stride_n;
    const auto to = [&](auto* pointer) {
      using T = std::remove_pointer_t<decltype(pointer)>;
      constexpr auto kSize = static_cast<std::ptrdiff_t>(sizeof(T));
      Picture<T> p{pointer, y_.height, y_.width, channels_, y_.stride_y / kSize, y_.stride_x / kSize,
                   y_.stride_c / kSize};
      if (channels_ == 1) p.channel_stride = 1;
      if (p.width == 1) p.pixel_stride = p.channel_stride == 1 ? channels_ : 1;
      return p;
    };
    if (y_.pixel == Pixel::kUint8) {
      pull(to(reinterpret_cast<std::uint8_t*>(data)));
    } else {
      pull(to(reinterpret_cast<float*>(data)));
    }
  }

  // --- pulling rows ---

  template <class T>
  void pull(const Picture<T>& to) {
    if constexpr (sizeof(T) == 4) {
      if (normalize_ != nullptr) {
        return source_.pixel == Pixel::kUint8 ? pull_normalized<std::uint8_t>(to) : pull_normalized<float>(to);
      }
    }
    const Picture<const T> from = source<T>();
    const bool row = is_row(channels_, to.pixel_stride, to.channel_stride);
    const bool direct = row && alike(from, to);
    if (steps_.empty() && is_view()) return geometry_table<T>().copy(view<T>(), to, false);
    prepare_geometry<T>();
    const std::ptrdiff_t group = direct && steps_.empty() ? to.height : rows_at_once(sizeof(T));
    for (std::ptrdiff_t y = 0; y < to.height; y += group) {
      const std::ptrdiff_t n = std::min(group, to.height - y);
      const Picture<T> target = rows_of(to, y, n);
      const Picture<T> work = direct ? target : tile<T>(tile_, n);
      read(y, work);
      apply_steps(0, steps_.size(), work, y);
      if (!direct) geometry_table<T>().copy(as_const(work), target, false);
    }
  }

  template <class T>
  void pull_normalized(const Picture<float>& to) {
    const bool row = is_row(channels_, to.pixel_stride, to.channel_stride);
    const bool plain = normalize_at_ == 0 && is_view();
    const bool whole_image = plain && row && steps_.empty();
    if (!plain) prepare_geometry<T>();
    const std::ptrdiff_t group = whole_image ? to.height : rows_at_once(sizeof(T));
    for (std::ptrdiff_t y = 0; y < to.height; y += group) {
      const std::ptrdiff_t n = std::min(group, to.height - y);
      const Picture<float> target = rows_of(to, y, n);
      Picture<const T> from;
      if (plain) {
        from = rows_of(view<T>(), y, n);
      } else {
        const Picture<T> work = tile<T>(tile_, n);
        read(y, work);
        apply_steps(0, normalize_at_, work, y);
        from = as_const(work);
      }
      const Picture<float> work = row ? target : tile<float>(float_tile_, n);
      geometry_table<T>().normalize(from, normalize_->scale.data(), normalize_->bias.data(), work, false);
      apply_steps(normalize_at_, steps_.size(), work, y);
      if (!row) geometry_table<float>().copy(as_const(work), target, false);
    }
  }

  template <class T>
  static Picture<const T> as_const(const Picture<T>& p) {
    return {p.data, p.height, p.width, p.channels, p.row_stride, p.pixel_stride, p.channel_stride};
  }

  std::ptrdiff_t rows_at_once(std::size_t element) const {
    const std::ptrdiff_t bytes = size_.width * channels_ * static_cast<std::ptrdiff_t>(element);
    return std::max<std::ptrdiff_t>(1, kTileBytes / bytes);
  }

  // Rows between the steps, like those of the source.
  template <class T>
  Picture<T> tile(const Buffer<float>& memory, std::ptrdiff_t rows) const {
    T* const data = reinterpret_cast<T*>(memory.data());
    if (source_interleaved()) return {data, rows, size_.width, channels_, size_.width * channels_, channels_, 1};
    return {data, rows, size_.width, channels_, size_.width, 1, rows * size_.width};
  }

  // Rows y … y + out.height of what the geometry makes of the source.
  template <class T>
  void read(std::ptrdiff_t y, const Picture<T>& out) {
    const GeometryTable<T>& k = geometry_table<T>();
    if (kind_ == Kind::kWarp) return k.warp(source<T>(), warp_, static_cast<const T*>(warped_->fill()), y, out);
    if (kind_ == Kind::kResize) return read_resized(y, out);
    if (is_view()) return k.copy(rows_of(view<T>(), y, out.height), out, false);
    k.gather(source<T>(), maps_, fill<T>(), y, out);
  }

  template <class T>
  const T* fill() const {
    return outside_ == nullptr ? nullptr : static_cast<const T*>(outside_->fill());
  }

  template <class T>
  void prepare_geometry() {
    if (kind_ == Kind::kWarp) {
      const Step& step = *warped_->step;
      std::copy(matrix_.begin(), matrix_.end(), warp_.m);
      warp_.padding = step.padding;
      warp_.interpolation = step.interpolation;
      warp_.projective = matrix_[6] != 0 || matrix_[7] != 0;
    } else if (kind_ == Kind::kResize) {
      prepare_taps<T>(0, maps_.columns, box_[3], resized_->after.width, program_.across_taps);
      prepare_taps<T>(1, maps_.rows, box_[2], resized_->after.height, program_.down_taps);
      std::fill_n(ring_rows_.data(), program_.down_taps, -1);
    }
  }

  // --- resizing ---

  template <class T>
  using Weight = typename ResizeTypes<T>::Weight;

  template <class T>
  Taps<Weight<T>> taps(std::size_t which, std::ptrdiff_t stride) const {
    const std::int32_t* first = places_[which].data();
    return {(which == 0 ? maps_.columns : maps_.rows).length, stride, first, first + program_.widest,
            reinterpret_cast<const Weight<T>*>(weights_[which].data())};
  }

  // Triangles of the axis' outputs: see resize_weights of the reference.
  template <class T>
  void prepare_taps(std::size_t which, const Axis& axis, std::ptrdiff_t box, std::ptrdiff_t size,
                    std::ptrdiff_t stride) {
    std::int32_t* const first = places_[which].data();
    std::int32_t* const count = first + program_.widest;
    auto* const weights = reinterpret_cast<Weight<T>*>(weights_[which].data());
    const double scale = static_cast<double>(box) / static_cast<double>(size);
    const double support = resized_->step->antialias ? std::max(scale, 1.0) : 1.0;
    double* const w = real_weights_.data();
    for (std::ptrdiff_t i = 0; i < axis.length; ++i) {
      const std::ptrdiff_t r = axis.from(i);
      if (r == kOutside) {
        first[i] = kOutside;
        count[i] = 0;
        continue;
      }
      const double centre = (static_cast<double>(r) + 0.5) * scale;
      const auto begin = static_cast<std::ptrdiff_t>(std::max(std::floor(centre - support + 0.5), 0.0));
      const auto end = static_cast<std::ptrdiff_t>(
          std::min(std::floor(centre + support + 0.5), static_cast<double>(box)));
      double total = 0;
      for (std::ptrdiff_t j = begin; j < end; ++j) {
        w[j - begin] = std::max(0.0, 1 - std::abs(static_cast<double>(j) + 0.5 - centre) / support);
        total += w[j - begin];
      }
      first[i] = static_cast<std::int32_t>(begin);
      count[i] = static_cast<std::int32_t>(end - begin);
      Weight<T>* const to = weights + i * stride;
      const std::ptrdiff_t n = end - begin;
      if constexpr (sizeof(T) == 1) {
        int rest = 1 << 14;
        for (std::ptrdiff_t j = 0; j < n; ++j) {
          to[j] = static_cast<std::int16_t>(std::floor(w[j] / total * 16384 + 0.5));
          rest -= to[j];
        }
        std::int16_t& largest = *std::max_element(to, to + n);
        largest = static_cast<std::int16_t>(largest + rest);
        to[n] = 0;
      } else {
        for (std::ptrdiff_t j = 0; j < n; ++j) to[j] = static_cast<float>(w[j] / total);
      }
    }
  }

  template <class T>
  void read_resized(std::ptrdiff_t y, const Picture<T>& out) {
    using Between = typename ResizeTypes<T>::Between;
    const GeometryTable<T>& k = geometry_table<T>();
    const auto across = taps<T>(0, program_.across_taps), down = taps<T>(1, program_.down_taps);
    Picture<const T> from = source<T>();
    from.data += box_[0] * from.row_stride + box_[1] * from.pixel_stride;
    from.height = box_[2];
    from.width = box_[3];
    const bool interleaved = is_interleaved(out);
    const std::ptrdiff_t width = out.width, row = width * channels_;
    auto* const ring = reinterpret_cast<Between*>(ring_.data());
    auto* const pointers = reinterpret_cast<const Between**>(ring_pointers_.data());
    for (std::ptrdiff_t r = 0; r < out.height; ++r) {
      T* const to = out.data + r * out.row_stride;
      const std::ptrdiff_t first = down.first[y + r], count = down.count[y + r];
      if (first == kOutside) {
        for (std::ptrdiff_t i = 0; i < width; ++i) fill_pixel(out, to + i * out.pixel_stride);
        continue;
      }
      for (std::ptrdiff_t j = first; j < first + count; ++j) {
        const std::ptrdiff_t slot = j % program_.down_taps;
        Between* const line = ring + slot * row;
        if (ring_rows_[slot] != j) {
          const Row<Between> target{line, width, channels_, interleaved ? channels_ : 1, interleaved ? 1 : width};
          k.resize_across(from.row(j), across, target);
          ring_rows_[slot] = j;
        }
        pointers[j - first] = line;
      }
      const Weight<T>* const weights = down.weights + (y + r) * down.stride;
      if (interleaved) {
        k.resize_down(pointers, weights, count, row, to);
      } else {
        for (std::ptrdiff_t c = 0; c < channels_; ++c) {
          k.resize_down(pointers, weights, count, width, to + c * out.channel_stride);
          for (std::ptrdiff_t j = 0; j < count; ++j) pointers[j] += width;
        }
      }
      if (maps_.columns.is_run()) continue;
      for (std::ptrdiff_t i = 0; i < width; ++i) {
        if (across.first[i] == kOutside) fill_pixel(out, to + i * out.pixel_stride);
      }
    }
  }

  template <class T>
  void fill_pixel(const Picture<T>& out, T* to) const {
    for (std::ptrdiff_t c = 0; c < channels_; ++c) to[c * out.channel_stride] = fill<T>()[c];
  }

  // --- pixel steps ---

  template <class T>
  void add_step(const Prepared& p, const double* parameters, std::ptrdiff_t sample) {
    const Step& step = *p.step;
    PixelStep s{step.op, &p, parameters, nullptr, 0, 0, nullptr, nullptr, {step.seed, 0}};
    if (step.index != nullptr) s.stream.stream = step.index[sample];
    if (channels_ == 1 && (step.op == Op::kSaturation || step.op == Op::kHue || step.op == Op::kGrayscale)) return;
    std::uint8_t* const table = tables_.data() + static_cast<std::ptrdiff_t>(steps_.size()) * channels_ * kLevels;
    s.tables = table;
    s.table_channels = 1;
    switch (step.op) {
      case Op::kTable:
        s.table_channels = step.table_channels;
        std::memcpy(table, step.tables + sample * step.table_channels * kLevels,
                    static_cast<std::size_t>(step.table_channels * kLevels));
        break;
      case Op::kBrightness:
      case Op::kPosterize:
      case Op::kSolarize:
      case Op::kInvert:
        if constexpr (sizeof(T) == 1) {
          make_table(step.op, parameters, table);
          s.op = Op::kTable;
        }
        break;
      case Op::kContrast:
      case Op::kEqualize:
      case Op::kAutocontrast:
        measure<T>(s, parameters);
        break;
      default:
        break;
    }
    if constexpr (sizeof(T) == 1) {
      if (s.op == Op::kTable && last_is_table()) return add_to_table(s);
    }
    steps_.push_back(s);
  }

  bool last_is_table() const {
    return steps_.size() > (normalize_ != nullptr ? normalize_at_ : 0) && steps_.back().op == Op::kTable;
  }

  // A table behind a table is one table.
  void add_to_table(const PixelStep& next) {
    PixelStep& s = steps_.back();
    if (s.table_channels == 1 && next.table_channels > 1) {
      for (std::ptrdiff_t c = 1; c < channels_; ++c) std::memcpy(s.tables + c * kLevels, s.tables, kLevels);
      s.table_channels = channels_;
    }
    compose_tables(s.tables, s.table_channels, next.tables, next.table_channels);
  }

  // Statistics of the image as it is now, and what they make of the step.
  template <class T>
  void measure(PixelStep& s, const double* parameters) {
    Op op = s.op;
    // Bytes: tables that are pending are looked through.
    const bool tables_only = steps_.empty() || (sizeof(T) == 1 && steps_.size() == 1 && last_is_table());
    if (normalize_ != nullptr || !tables_only || !is_view()) {
      materialize();
      s.tables = tables_.data();
    }
    const PixelTable<T>& k = pixel_table<T>();
    const Picture<const T> x = view<T>();
    const std::uint8_t* pending = steps_.empty() ? nullptr : steps_.back().tables;
    const std::ptrdiff_t pending_channels = steps_.empty() ? 1 : steps_.back().table_channels;
    if (op == Op::kContrast) {
      s.mean = k.mean_luma(x, pending, pending_channels);
      if constexpr (sizeof(T) == 1) {
        contrast_table(parameters[0], s.mean, s.tables);
        s.op = Op::kTable;
      }
      return;
    }
    s.table_channels = channels_;
    if (op == Op::kEqualize) {
      k.histogram(x, counts_.data());
      std::array<std::uint32_t, kLevels> mapped;
      for (std::ptrdiff_t c = 0; c < channels_; ++c) {
        const std::uint32_t* counts = counts_.data() + c * kLevels;
        if (pending != nullptr) {
          count_through(counts, pending + (pending_channels == 1 ? 0 : c * kLevels), mapped.data());
          counts = mapped.data();
        }
        equalize_table(counts, s.tables + c * kLevels);
      }
      s.op = Op::kTable;
      return;
    }
    float* const numbers = extremes_.data() + static_cast<std::ptrdiff_t>(steps_.size()) * 2 * channels_;
    T* const low = reinterpret_cast<T*>(numbers);
    T* const high = reinterpret_cast<T*>(numbers + channels_);
    k.min_max(x, pending, pending_channels, low, high);
    if constexpr (sizeof(T) == 1) {
      for (std::ptrdiff_t c = 0; c < channels_; ++c) autocontrast_table(low[c], high[c], s.tables + c * kLevels);
      s.op = Op::kTable;
    } else {
      s.low = low;
      s.high = high;
    }
  }

  template <class T>
  void filter(const Prepared& p, const double* parameters) {
    const Step& step = *p.step;
    float* const taps_x = taps_.data();
    float* const taps_y = taps_x + program_.most_blur_taps;
    std::ptrdiff_t kx = 0, ky = 0;
    if (step.op == Op::kBlur) {
      kx = gaussian_taps(step.out_width, parameters[0], taps_x);
      ky = gaussian_taps(step.out_height, parameters[1], taps_y);
      if (kx == 1 && ky == 1) return;
    }
    settle_pixels();
    settle();
    const Picture<const T> x = source<T>();
    const Picture<T> out = scratch<T>(size_, source_interleaved());
    if (step.op == Op::kBlur) {
      pixel_table<T>().blur(x, out, taps_x, kx, taps_y, ky, blur_scratch_.data());
    } else {
      pixel_table<T>().sharpness(x, out, parameters[0]);
    }
    become_scratch(out);
    reset();
  }

  // Steps first … last on rows y … of the image.
  template <class T>
  void apply_steps(std::size_t first, std::size_t last, const Picture<T>& rows, std::ptrdiff_t y) {
    const PixelTable<T>& k = pixel_table<T>();
    const bool dense = rows.row_stride == rows.width * rows.pixel_stride;
    for (std::size_t i = first; i < last; ++i) {
      const PixelStep& s = steps_[i];
      const Step& step = *s.prepared->step;
      if (s.op == Op::kErase) {
        const double top = std::trunc(s.parameters[0]), bottom = top + std::trunc(s.parameters[2]);
        for (std::ptrdiff_t r = 0; r < rows.height; ++r) {
          const auto at = static_cast<double>(y + r);
          if (at < top || at >= bottom) continue;
          k.erase(rows.row(r), y + r, s.parameters, step.fill_mode, s.prepared->fill_f64.data(), s.stream);
        }
        continue;
      }
      Picture<T> all = rows;
      if (dense) {
        all.width *= all.height;
        all.height = 1;
      }
      if (s.op == Op::kNormalize) {
        if constexpr (sizeof(T) == 4) {
          geometry_table<float>().normalize(as_const(all), s.prepared->scale.data(), s.prepared->bias.data(), all,
                                            false);
        }
        continue;
      }
      for (std::ptrdiff_t r = 0; r < all.height; ++r) {
        const Row<T> row = all.row(r);
        if (s.op == Op::kTable) {
          k.look_up(row, s.tables, s.table_channels);
        } else if (s.op == Op::kNoise) {
          const auto element = static_cast<std::uint64_t>((y + r) * rows.width * channels_);
          k.noise(row, s.stream, element, s.parameters[0], s.parameters[1], step.clip);
        } else if (s.op == Op::kContrast) {
          k.contrast(row, s.parameters[0], s.mean);
        } else if (s.op == Op::kAutocontrast) {
          k.autocontrast(row, reinterpret_cast<const T*>(s.low), reinterpret_cast<const T*>(s.high));
        } else {
          k.point(s.op, row, s.parameters);
        }
      }
    }
  }

  enum class Kind { kMaps, kWarp, kResize };

  const Program& program_;
  const Images& y_;
  std::ptrdiff_t channels_;

  Source source_{};
  int scratch_ = -1;  // which of images_ it lies in; −1: none
  Kind kind_ = Kind::kMaps;
  Size size_{};                          // of the result so far
  Maps maps_;                            // kMaps; kResize: of the resized image
  const Prepared* outside_ = nullptr;    // whose fill the maps' outside has
  Turn turn_;                            // what the maps do since they last cut
  Matrix matrix_{};                      // kWarp
  const Prepared* warped_ = nullptr;     // kWarp: padding, fill, interpolation
  const Prepared* resized_ = nullptr;    // kResize
  std::array<std::ptrdiff_t, 4> box_{};  // kResize
  Warp warp_{};
  std::vector<PixelStep> steps_;
  const Prepared* normalize_ = nullptr;  // in front of steps_[normalize_at_]
  std::size_t normalize_at_ = 0;

  AxisMaker rows_, columns_;
  std::array<Buffer<float>, 2> images_;
  Buffer<std::uint8_t> tables_;
  Buffer<float> extremes_;
  Buffer<std::uint32_t> counts_;
  Buffer<float> tile_, float_tile_, taps_, blur_scratch_;
  std::array<Buffer<std::int32_t>, 2> places_;  // of taps: first, count
  std::array<Buffer<float>, 2> weights_;
  Buffer<double> real_weights_;
  Buffer<float> ring_;  // rows resized across
  Buffer<std::ptrdiff_t> ring_rows_;
  Buffer<const void*> ring_pointers_;
};

}  // namespace

void run(const Images& x, std::span<const Step> steps, const Images& y) {
  if (x.n == 0) return;
  const Program program(x, steps);
  std::vector<Worker> workers;
  workers.reserve(static_cast<std::size_t>(program.team));
  for (int i = 0; i < program.team; ++i) workers.emplace_back(program, y);
  threading::for_row_shares(workers.size(), static_cast<std::size_t>(x.n),
                            [&](std::size_t begin, std::size_t end, std::size_t part) {
                              for (std::size_t i = begin; i < end; ++i) {
                                workers[part].run(static_cast<std::ptrdiff_t>(i));
                              }
                            });
}

void draws(std::uint64_t seed, const std::uint64_t* index, std::size_t n, std::size_t count, double* u) {
  threading::for_ranges(threading::team_for(3 * n * count * sizeof(double)), n, 1,
                        [&](std::size_t begin, std::size_t end) {
                          for (std::size_t i = begin; i < end; ++i) {
                            uniform<double>(Extents(count), {u + i * count}, {seed, index[i]});
                          }
                        });
}

}  // namespace regkern::augment
