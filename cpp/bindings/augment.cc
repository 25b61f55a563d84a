// Binds augmentation: a program of Python's steps, checked against the images that it runs on.

#include "regkern/augment.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "arrays.h"
#include "module.h"

namespace regkern::bindings {
namespace {

using augment::Images;
using augment::Op;
using augment::Step;

constexpr std::ptrdiff_t kLongestSide = 1 << 30, kLongestWarped = 1 << 19,
                         kMostNumbers = std::ptrdiff_t{1} << 40;
constexpr std::ptrdiff_t kMostPermuted = 1024;
constexpr int kFields = 15;  // of a Python Step

bool is_dense(py::handle array) {
  using py::detail::npy_api;
  constexpr int kDense = npy_api::NPY_ARRAY_C_CONTIGUOUS_ | npy_api::NPY_ARRAY_ALIGNED_;
  return (proxy(array)->flags & kDense) == kDense;
}

// The numbers of NumPy's types.
enum class Kind { kBool = 0, kUint8 = 2, kFloat32 = 11, kFloat64 = 12, kUint64 = -1 };

bool is_kind(py::handle array, Kind kind) {
  const auto* descriptor = reinterpret_cast<const py::detail::PyArrayDescr_Proxy*>(proxy(array)->descr);
  if (descriptor->byteorder == '>') return false;
  const int type = descriptor->type_num;
  if (kind == Kind::kUint64) return type == 10 || (type == 8 && sizeof(unsigned long) == 8);
  return type == static_cast<int>(kind);
}

const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::kBool:
      return "bool";
    case Kind::kUint8:
      return "uint8";
    case Kind::kFloat32:
      return "float32";
    case Kind::kFloat64:
      return "float64";
    case Kind::kUint64:
      return "uint64";
  }
  return "";
}

std::string array_shape(py::handle array) {
  return shape_text(proxy(array)->nd, static_cast<const std::ptrdiff_t*>(proxy(array)->dimensions));
}

std::string number(double v) { return text(py::float_(v)); }

// --- images ---

Images images(const Memory& memory, py::handle value) {
  const Arg arg = memory.arg();
  const bool bytes = is_kind(value, Kind::kUint8);
  if (!bytes && !is_kind(value, Kind::kFloat32)) {
    type_error(arg, "be uint8 or float32", py::str(value.attr("dtype")));
  }
  if (memory.ndim() != 4) value_error(arg, "have 4 axes (N, H, W, C)", "shape " + array_shape(value));
  const auto *dims = memory.shape(), *strides = memory.strides();
  for (int i = 1; i < 4; ++i) {
    if (dims[i] < 1 || dims[i] > kLongestSide) value_error(arg, "hold pixels", "shape " + array_shape(value));
  }
  return {memory.address(), bytes ? augment::Pixel::kUint8 : augment::Pixel::kFloat32,
          dims[0],          dims[1],
          dims[2],          dims[3],
          strides[0],       strides[1],
          strides[2],       strides[3]};
}

struct Reach {
  std::array<std::pair<std::ptrdiff_t, std::ptrdiff_t>, 4> axes;  // stride, length
  std::ptrdiff_t size;                                            // bytes of an element
  const char *low, *high;

  explicit Reach(const Images& x)
      : axes{{{x.stride_n, x.n}, {x.stride_y, x.height}, {x.stride_x, x.width}, {x.stride_c, x.channels}}},
        size(x.pixel == augment::Pixel::kUint8 ? 1 : 4),
        low(static_cast<const char*>(x.data)),
        high(low + size) {
    for (const auto& [stride, length] : axes) {
      if (length > 1) (stride < 0 ? low : high) += stride * (length - 1);
    }
  }
};

void require_writable(const Memory& memory, const Images& y) {
  const Arg arg = memory.arg();
  if (!memory.has(py::detail::npy_api::NPY_ARRAY_WRITEABLE_)) {
    value_error(arg, "be writable", "a read-only array");
  }
  if (y.n == 0) return;
  const Reach reach(y);
  bool aligned = reinterpret_cast<std::uintptr_t>(y.data) % static_cast<std::uintptr_t>(reach.size) == 0;
  auto axes = reach.axes;
  for (auto& [stride, length] : axes) {
    if (length > 1 && stride % reach.size != 0) aligned = false;
    if (length <= 1) stride = 0;
    stride = std::abs(stride);
  }
  if (!aligned) value_error(arg, "be aligned", "strides or an address that are not");
  std::sort(axes.begin(), axes.end());
  std::ptrdiff_t covered = reach.size;
  for (const auto& [stride, length] : axes) {
    if (length <= 1) continue;
    if (stride < covered) value_error(arg, "hold every element in its own memory", "strides that overlap");
    covered += stride * (length - 1);
  }
}

// --- steps ---

// The arrays of all steps: alive, and as they were when they were checked.
struct Kept {
  std::vector<py::object> objects;
  std::vector<Memory> memories;
};

// One step of the list, as it is read.
class Reader {
 public:
  Reader(const std::string& function, std::size_t position, py::handle step, Kept& kept)
      : function_(function), position_(position), step_(step), kept_(kept) {
    if (!PyTuple_Check(step.ptr()) || PyTuple_GET_SIZE(step.ptr()) != kFields) {
      fail_type("", "be a Step", step);
    }
  }

  py::handle field(int i) const { return PyTuple_GET_ITEM(step_.ptr(), i); }

  [[noreturn]] void fail(const char* name, const std::string& rule, const std::string& got) const {
    const std::string full = full_name(name);
    value_error({function_.c_str(), full.c_str()}, rule, got);
  }
  [[noreturn]] void fail_type(const char* name, const std::string& rule, py::handle got) const {
    const std::string full = full_name(name);
    type_error({function_.c_str(), full.c_str()}, rule, got);
  }

  std::int64_t integer_field(int i, const char* name, std::int64_t low, std::int64_t high) const {
    const std::string full = full_name(name);
    const std::int64_t v = integer({function_.c_str(), full.c_str()}, field(i));
    if (v < low || v > high) {
      fail(name, "be in " + std::to_string(low) + " … " + std::to_string(high), std::to_string(v));
    }
    return v;
  }
  // Height (0) or width (1) of the field `size`.
  std::int64_t side(int k) const {
    const std::string full = full_name("size");
    return integer({function_.c_str(), full.c_str()}, PyTuple_GET_ITEM(field(3).ptr(), k));
  }
  bool flag_field(int i, const char* name) const {
    const std::string full = full_name(name);
    return flag({function_.c_str(), full.c_str()}, field(i));
  }
  std::uint64_t seed_field(int i, const char* name) const {
    const std::string full = full_name(name);
    return unsigned64({function_.c_str(), full.c_str()}, field(i));
  }

  // A dense array of a type; shape: −1 stands for any length, which is written there. None: nullptr.
  const void* array(int i, const char* name, Kind kind, std::vector<std::ptrdiff_t>& shape) {
    py::object value = py::reinterpret_borrow<py::object>(field(i));
    if (value.is_none()) return nullptr;
    if (!is_ndarray(value)) fail_type(name, "be an ndarray or None", py::type::handle_of(value));
    if (!is_kind(value, kind)) {
      fail_type(name, std::string("be ") + name_of(kind), py::str(value.attr("dtype")));
    }
    const auto* dims = static_cast<const std::ptrdiff_t*>(proxy(value)->dimensions);
    bool same = proxy(value)->nd == static_cast<int>(shape.size());
    std::string wanted = "(";
    for (std::size_t k = 0; k < shape.size(); ++k) {
      same = same && (shape[k] == -1 || dims[k] == shape[k]);
      wanted += (k == 0 ? "" : ", ") + (shape[k] == -1 ? std::string("any") : std::to_string(shape[k]));
    }
    if (!same) fail(name, "have shape " + wanted + (shape.size() == 1 ? ",)" : ")"), array_shape(value));
    std::copy_n(dims, shape.size(), shape.begin());
    if (!is_dense(value)) value = value.attr("copy")();
    kept_.memories.emplace_back(Arg{function_.c_str(), "steps"}, value);
    kept_.objects.push_back(std::move(value));
    return kept_.memories.back().address();
  }

 private:
  std::string full_name(const char* name) const {
    return "steps[" + std::to_string(position_) + "]" + (*name == '\0' ? "" : ".") + name;
  }

  const std::string& function_;
  std::size_t position_;
  py::handle step_;
  Kept& kept_;
};

// What a parameter may be.
enum class Rule { kFlag, kInteger, kFinite, kNumber, kNonnegative, kLevelBits, kChannel, kPositive };

std::vector<Rule> rules_of(Op op, std::ptrdiff_t channels) {
  switch (op) {
    case Op::kFlip:
      return {Rule::kFlag, Rule::kFlag};
    case Op::kRotate90:
      return {Rule::kInteger};
    case Op::kCrop:
      return {Rule::kInteger, Rule::kInteger};
    case Op::kWarp:
      return std::vector<Rule>(9, Rule::kFinite);
    case Op::kResize:
      return {Rule::kInteger, Rule::kInteger, Rule::kPositive, Rule::kPositive};
    case Op::kErase:
      return std::vector<Rule>(4, Rule::kInteger);
    case Op::kBrightness:
    case Op::kScale:
    case Op::kSaturation:
    case Op::kHue:
    case Op::kContrast:
    case Op::kSharpness:
      return {Rule::kFinite};
    case Op::kGamma:
      return {Rule::kFinite, Rule::kFinite};
    case Op::kPosterize:
      return {Rule::kLevelBits};
    case Op::kSolarize:
      return {Rule::kNumber};
    case Op::kPermute:
      return std::vector<Rule>(static_cast<std::size_t>(channels), Rule::kChannel);
    case Op::kNoise:
      return {Rule::kFinite, Rule::kNonnegative};
    case Op::kBlur:
      return {Rule::kNonnegative, Rule::kNonnegative};
    case Op::kTable:
    case Op::kInvert:
    case Op::kGrayscale:
    case Op::kNormalize:
    case Op::kEqualize:
    case Op::kAutocontrast:
      break;
  }
  return {};
}

// What it breaks, nullptr: nothing.
const char* broken(Rule rule, double v, std::ptrdiff_t channels) {
  const bool whole = std::floor(v) == v && std::abs(v) <= static_cast<double>(kLongestSide);
  switch (rule) {
    case Rule::kFlag:
      return v == 0 || v == 1 ? nullptr : "be 0 or 1";
    case Rule::kInteger:
      return whole ? nullptr : "be integers up to 2**30";
    case Rule::kPositive:
      return whole && v >= 1 ? nullptr : "have boxes of at least one pixel";
    case Rule::kFinite:
      return std::isfinite(v) ? nullptr : "be finite";
    case Rule::kNumber:
      return std::isnan(v) ? "be numbers" : nullptr;
    case Rule::kNonnegative:
      return v >= 0 && std::isfinite(v) ? nullptr : "be >= 0 and finite";
    case Rule::kLevelBits:
      return whole && v >= 0 && v <= 8 ? nullptr : "be integers in 0 … 8";
    case Rule::kChannel:
      return whole && v >= 0 && v < static_cast<double>(channels) ? nullptr : "be channels";
  }
  return nullptr;
}

struct State {
  std::ptrdiff_t n, height, width, channels;
  augment::Pixel pixel;
};

void check_samples(const Reader& reader, const Step& step, const State& s) {
  const std::vector<Rule> rules = rules_of(step.op, s.channels);
  for (std::ptrdiff_t i = 0; i < s.n; ++i) {
    if (step.active != nullptr && step.active[i] == 0) continue;
    const double* p = step.parameters + i * step.width;
    for (std::size_t k = 0; k < rules.size(); ++k) {
      if (const char* rule = broken(rules[k], p[k], s.channels))
        reader.fail("parameters", rule, number(p[k]));
    }
    if (step.op == Op::kRotate90) {
      const bool odd = static_cast<std::int64_t>(p[0]) % 2 != 0;
      if (step.out_height != (odd ? s.width : s.height) || step.out_width != (odd ? s.height : s.width)) {
        reader.fail("size", "be that of the turned images",
                    std::to_string(step.out_height) + ", " + std::to_string(step.out_width));
      }
    }
    if (step.op == Op::kWarp && p[6] == 0 && p[7] == 0 && p[8] == 0) {
      reader.fail("parameters", "be matrices whose last row is not 0", "one that is");
    }
    if (step.op == Op::kResize && (p[0] < 0 || p[1] < 0 || p[0] + p[2] > static_cast<double>(s.height) ||
                                   p[1] + p[3] > static_cast<double>(s.width))) {
      reader.fail("parameters", "be boxes in the image",
                  number(p[0]) + ", " + number(p[1]) + ", " + number(p[2]) + ", " + number(p[3]));
    }
  }
}

const double* channel_numbers(Reader& reader, int field, const char* name, const State& s, bool required) {
  std::vector<std::ptrdiff_t> shape{s.channels};
  const auto* numbers = static_cast<const double*>(reader.array(field, name, Kind::kFloat64, shape));
  if (numbers == nullptr) {
    if (required) reader.fail(name, "be given", "None");
    return nullptr;
  }
  for (std::ptrdiff_t c = 0; c < s.channels; ++c) {
    if (!std::isfinite(numbers[c])) reader.fail(name, "be finite", number(numbers[c]));
  }
  return numbers;
}

// Reads and checks a step on images of a state, and moves the state behind it.
Step read_step(Reader& reader, State& s) {
  Step step{};
  step.op = static_cast<Op>(reader.integer_field(0, "op", 0, static_cast<int>(Op::kSharpness)));
  std::vector<std::ptrdiff_t> shape{s.n, -1};
  step.parameters = static_cast<const double*>(reader.array(1, "parameters", Kind::kFloat64, shape));
  const auto width = static_cast<std::ptrdiff_t>(rules_of(step.op, s.channels).size());
  if (step.parameters == nullptr) reader.fail("parameters", "be given", "None");
  step.width = shape[1];
  if (step.width != width) {
    reader.fail("parameters", "have " + std::to_string(width) + " numbers a sample",
                std::to_string(step.width));
  }
  shape = {s.n};
  step.active = static_cast<const std::uint8_t*>(reader.array(2, "active", Kind::kBool, shape));

  const py::handle size = reader.field(3);
  if (!PyTuple_Check(size.ptr()) || PyTuple_GET_SIZE(size.ptr()) != 2) {
    reader.fail_type("size", "be (height, width)", size);
  }
  std::array<std::int64_t, 2> sides{};
  for (int k = 0; k < 2; ++k) {
    sides[static_cast<std::size_t>(k)] = reader.side(k);
  }
  step.out_height = sides[0];
  step.out_width = sides[1];
  step.padding = static_cast<augment::Padding>(reader.integer_field(4, "padding", 0, 3));
  step.interpolation = static_cast<augment::Interpolation>(reader.integer_field(5, "interpolation", 0, 1));
  step.antialias = reader.flag_field(6, "antialias");
  step.clip = reader.flag_field(7, "clip");
  step.fill_mode = static_cast<augment::FillMode>(reader.integer_field(8, "fill_mode", 0, 2));
  step.fill = channel_numbers(reader, 9, "fill", s, false);
  step.scale = channel_numbers(reader, 10, "scale", s, step.op == Op::kNormalize);
  step.bias = channel_numbers(reader, 11, "bias", s, step.op == Op::kNormalize);
  shape = {s.n, -1, 256};
  step.tables = static_cast<const std::uint8_t*>(reader.array(12, "tables", Kind::kUint8, shape));
  step.table_channels = step.tables == nullptr ? 1 : shape[1];
  if (step.op == Op::kTable) {
    if (step.tables == nullptr) reader.fail("tables", "be given", "None");
    if (step.table_channels != 1 && step.table_channels != s.channels) {
      reader.fail("tables", "have 1 table or one a channel", std::to_string(step.table_channels));
    }
  }
  step.seed = reader.seed_field(13, "seed");
  shape = {s.n};
  step.index = static_cast<const std::uint64_t*>(reader.array(14, "index", Kind::kUint64, shape));

  const bool resizes =
      step.op == Op::kRotate90 || step.op == Op::kCrop || step.op == Op::kWarp || step.op == Op::kResize;
  if (resizes || step.op == Op::kBlur) {
    for (const std::int64_t side : sides) {
      if (side < 1 || side > kLongestSide) reader.fail("size", "be in 1 … 2**30", std::to_string(side));
    }
  }
  if (step.op == Op::kBlur) {
    for (const std::int64_t side : sides) {
      if (side % 2 == 0 || side > kLongestWarped)
        reader.fail("size", "be odd and below 2**19", std::to_string(side));
    }
  }
  if (step.op == Op::kWarp &&
      std::max({s.height, s.width, step.out_height, step.out_width}) >= kLongestWarped) {
    reader.fail("size", "be below 2**19, like that of the images", std::to_string(kLongestWarped));
  }
  const bool colors = step.op == Op::kSaturation || step.op == Op::kHue || step.op == Op::kGrayscale ||
                      step.op == Op::kContrast;
  if (colors && s.channels != 1 && s.channels != 3) {
    reader.fail("op", "meet 1 or 3 channels", std::to_string(s.channels));
  }
  if (step.op == Op::kPermute && s.channels > kMostPermuted) {
    reader.fail("op", "meet at most " + std::to_string(kMostPermuted) + " channels",
                std::to_string(s.channels));
  }
  const bool real_only = step.op == Op::kScale || step.op == Op::kGamma;
  if (real_only && s.pixel == augment::Pixel::kUint8) reader.fail("op", "meet float32 images", "uint8");
  check_samples(reader, step, s);
  if (resizes) {
    if (step.active != nullptr && (step.out_height != s.height || step.out_width != s.width)) {
      for (std::ptrdiff_t i = 0; i < s.n; ++i) {
        if (step.active[i] == 0) reader.fail("active", "be True for all where the size changes", "False");
      }
    }
    s.height = step.out_height;
    s.width = step.out_width;
    if (s.height > kMostNumbers / s.width || s.height * s.width > kMostNumbers / s.channels) {
      reader.fail("size", "lead to images of at most 2**40 numbers", std::to_string(s.height));
    }
  }
  if (step.op == Op::kNormalize) {
    for (std::ptrdiff_t i = 0; step.active != nullptr && i < s.n; ++i) {
      if (step.active[i] == 0 && s.pixel == augment::Pixel::kUint8) {
        reader.fail("active", "be True for all where uint8 becomes float32", "False");
      }
    }
    s.pixel = augment::Pixel::kFloat32;
  }
  return step;
}

Memory memory_of(Arg arg, py::handle value) {
  if (!is_ndarray(value)) type_error(arg, "be an ndarray", py::type::handle_of(value));
  return {arg, value};
}

void run_steps(const std::string& name, py::handle x_value, const py::list& program, py::handle out) {
  const char* f = name.c_str();
  const Memory source = memory_of({f, "x"}, x_value), target = memory_of({f, "out"}, out);
  const Images x = images(source, x_value), y = images(target, out);
  require_writable(target, y);
  const auto list =
      py::reinterpret_steal<py::tuple>(PyList_AsTuple(program.ptr()));  // the list may change meanwhile
  Kept kept;
  std::vector<Step> steps;
  steps.reserve(list.size());
  State state{x.n, x.height, x.width, x.channels, x.pixel};
  for (std::size_t i = 0; i < list.size(); ++i) {
    Reader reader(name, i, PyTuple_GET_ITEM(list.ptr(), static_cast<py::ssize_t>(i)), kept);
    steps.push_back(read_step(reader, state));
  }
  const std::ptrdiff_t wanted[] = {state.n, state.height, state.width, state.channels};
  const std::ptrdiff_t given[] = {y.n, y.height, y.width, y.channels};
  if (!std::equal(wanted, wanted + 4, given)) {
    value_error({f, "out"}, "have shape " + shape_text(4, wanted), shape_text(4, given));
  }
  if (y.pixel != state.pixel) {
    const bool bytes = state.pixel == augment::Pixel::kUint8;
    type_error({f, "out"}, bytes ? "be uint8" : "be float32", py::str(out.attr("dtype")));
  }
  if (x.n == 0) return;
  const Reach from(x), to(y);
  if (from.low < to.high && to.low < from.high) {
    value_error({f, "out"}, "share no memory with x", "an array that does");
  }
  for (const Memory* memory : {&source, &target}) memory->use();
  for (const Memory& memory : kept.memories) memory.use();
  {
    const Unlocked unlocked(static_cast<std::size_t>(y.n * y.height * y.width * y.channels));
    augment::run(x, steps, y);
  }
}

py::object draws(py::handle seed, py::handle index, py::handle count) {
  constexpr const char* f = "augment_draws";
  const std::uint64_t key = unsigned64({f, "seed"}, seed);
  if (!is_ndarray(index)) type_error({f, "index"}, "be an ndarray", py::type::handle_of(index));
  if (!is_kind(index, Kind::kUint64)) type_error({f, "index"}, "be uint64", py::str(index.attr("dtype")));
  const std::int64_t numbers = integer({f, "count"}, count);
  if (numbers < 0) value_error({f, "count"}, "be >= 0", std::to_string(numbers));
  if (proxy(index)->nd != 1) value_error({f, "index"}, "have shape (n,)", array_shape(index));
  const py::object dense =
      is_dense(index) ? py::reinterpret_borrow<py::object>(index) : py::object(index.attr("copy")());
  const std::ptrdiff_t n = *static_cast<const std::ptrdiff_t*>(proxy(dense)->dimensions);
  const std::vector<std::ptrdiff_t> shape{n, static_cast<std::ptrdiff_t>(numbers)};
  const std::size_t size = product({f, "count"}, shape, sizeof(double));
  py::array_t<double> u(shape);
  double* const data = u.mutable_data();
  const auto* streams = reinterpret_cast<const std::uint64_t*>(proxy(dense)->data);
  const auto rows = static_cast<std::size_t>(n), columns = static_cast<std::size_t>(numbers);
  {
    const Unlocked unlocked(size);
    augment::draws(key, streams, rows, columns, data);
  }
  return u;
}

}  // namespace

void register_augment(py::module_& m) {
  m.def("augment", &run_steps);
  m.def("augment_draws", &draws);
}

}  // namespace regkern::bindings
