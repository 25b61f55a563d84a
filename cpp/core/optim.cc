#include "regkern/optim.h"

#include <algorithm>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/optim.cc"
#include "hwy/foreach_target.h"

#include "core/dispatch.h"
#include "core/elementwise.h"
#include "kernels/optim-inl.h"

#ifndef REGKERN_OPTIM_TABLE
#define REGKERN_OPTIM_TABLE
namespace regkern {
template <class T, template <class> class Options>
using StepKernel = void (*)(T* const* operands, std::size_t n, const Options<T>& options);

template <class T>
struct OptimTable {
  void (*l2_decay)(const T* w, T* y, std::size_t n, double factor, bool stream);
  StepKernel<T, SgdOptions> sgd_step;
  StepKernel<T, AdamOptions> adam_step;
  StepKernel<T, AdagradOptions> adagrad_step;
  StepKernel<T, RmspropOptions> rmsprop_step;
  StepKernel<T, FtrlOptions> ftrl_step;
  StepKernel<T, LionOptions> lion_step;
  StepStats (*step_stats)(T* before, const T* after, std::size_t n, double l1, double l2);
  GradientNorm (*squared_norm_and_finite)(const T* x, std::size_t n);

  // The kernel of the rule that Options names.
  operator StepKernel<T, SgdOptions>() const { return sgd_step; }
  operator StepKernel<T, AdamOptions>() const { return adam_step; }
  operator StepKernel<T, AdagradOptions>() const { return adagrad_step; }
  operator StepKernel<T, RmspropOptions>() const { return rmsprop_step; }
  operator StepKernel<T, FtrlOptions>() const { return ftrl_step; }
  operator StepKernel<T, LionOptions>() const { return lion_step; }
};
}  // namespace regkern
#endif

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

template <class T>
constexpr OptimTable<T> kOptimTable = {
    &l2_decay<T>,     &sgd_step<T>,     &adam_step<T>,
    &adagrad_step<T>, &rmsprop_step<T>, &ftrl_step<T>,
    &lion_step<T>,    &step_stats<T>,   &squared_norm_and_finite<T>,
};

const OptimTable<float>& optim_table_f32() { return kOptimTable<float>; }
const OptimTable<double>& optim_table_f64() { return kOptimTable<double>; }

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regkern {

REGKERN_EXPORT_TABLES(OptimTable, optim_table);

template <class T>
void l2_decay(const Extents& shape, In<T> w, Out<T> y, double factor) {
  const auto kernel = table<T>().l2_decay;
  for_elements(
      shape, Order::kAny,
      [=](std::size_t, std::size_t n, bool stream, const T* from, T* to) {
        kernel(from, to, n, factor, stream);
      },
      w, y);
}

namespace {

// Arrays of many shapes, each with K operands on one walk, laid end to end: any range of their joint
// positions can be worked on alone, so many small arrays share one parallel region as one large array would.
template <class T, std::size_t K>
class Joint {
 public:
  struct Operand {
    T* data = nullptr;
    const std::ptrdiff_t* strides = nullptr;
  };
  using Operands = std::array<Operand, K>;

  explicit Joint(std::size_t count) {
    arrays_.reserve(count);
    ends_.reserve(count);
  }

  void add(const Extents& shape, const Operands& operands) {
    Item item{};
    for (std::size_t k = 0; k < K; ++k) item.data[k] = operands[k].data;
    const auto is_dense = [](const Operand& o) { return o.strides == nullptr; };
    if (!std::all_of(operands.begin(), operands.end(), is_dense) && shape.size != 0) {
      std::array<const std::ptrdiff_t*, K> strides;
      for (std::size_t k = 0; k < K; ++k) {  // a missing operand walks along with the first
        strides[k] = operands[operands[k].data ? k : 0].strides;
      }
      const auto walk = make_walk<K>(shape, Order::kAny, strides, sizeof(T));
      bool dense = true;
      for (std::size_t k = 0; k < K; ++k) dense = dense && walk[k].dense(item.data[k]);
      if (!dense) {
        item.walk = walks_.size() + 1;
        walks_.push_back(walk);
      }
    }
    arrays_.push_back(item);
    ends_.push_back(size() + shape.size);
  }

  std::size_t size() const { return ends_.empty() ? 0 : ends_.back(); }

  // Calls body(array, n, pointers) so that positions [begin, end) are covered in order, `longest` at most at
  // a time. What is not dense is gathered before and, if `writes`, scattered after, but for operand 1, which
  // is only read.
  template <class Body>
  void run(std::size_t begin, std::size_t end, std::size_t longest, bool writes, Body&& body) const {
    auto array =
        static_cast<std::size_t>(std::upper_bound(ends_.begin(), ends_.end(), begin) - ends_.begin());
    while (begin < end) {
      const std::size_t first = begin - (array == 0 ? 0 : ends_[array - 1]);
      const std::size_t reach = std::min(end, ends_[array]) - begin;
      const Item& item = arrays_[array];
      std::size_t n = std::min(reach, longest);
      if (item.walk == 0) {
        std::array<T*, K> p;
        for (std::size_t k = 0; k < K; ++k) p[k] = item.data[k] ? item.data[k] + first : nullptr;
        body(array, n, p.data());
      } else {
        n = std::min(n, kBlock);
        run_gathered(array, first, n, writes, body);
      }
      begin += n;
      while (array < ends_.size() && ends_[array] <= begin) ++array;
    }
  }

 private:
  struct Item {
    std::array<T*, K> data;
    std::size_t walk = 0;  // 0: dense; else one more than its index
  };

  template <class Body>
  void run_gathered(std::size_t array, std::size_t first, std::size_t n, bool writes, Body& body) const {
    alignas(64) T buffers[K][kBlock];
    const Item& item = arrays_[array];
    const auto& walk = walks_[item.walk - 1];
    std::array<T*, K> p;
    for (std::size_t k = 0; k < K; ++k) {
      const bool lies_dense = !item.data[k] || walk[k].dense(item.data[k]);
      p[k] = !item.data[k] ? nullptr : lies_dense ? item.data[k] + first : buffers[k];
      if (!lies_dense) walk[k].gather(item.data[k], first, n, buffers[k]);
    }
    body(array, n, p.data());
    for (std::size_t k = 0; k < K && writes; ++k) {
      if (k != 1 && p[k] == buffers[k]) walk[k].scatter(buffers[k], item.data[k], first, n);
    }
  }

  std::vector<Item> arrays_;
  std::vector<std::size_t> ends_;  // position behind each array
  std::vector<std::array<Strided, K>> walks_;
};

// Sums are taken over blocks of joint positions and added in their order: the same bits for every team.
constexpr std::size_t kSumBlock = kBlock;

}  // namespace

template <class T, template <class> class Options>
void step(std::span<const Parameter<T>> parameters, std::span<const Options<T>> groups, StepStats* stats) {
  const OptimTable<T>& kernels = table<T>();
  const StepKernel<T, Options> kernel = kernels;
  constexpr std::size_t kOperands = 2 + kMaxStates;
  Joint<T, kOperands> joint(parameters.size());
  std::size_t streams = 2;
  for (const Parameter<T>& parameter : parameters) {
    typename Joint<T, kOperands>::Operands operands;
    operands[0] = {parameter.w.data, parameter.w.strides};
    operands[1] = {const_cast<T*>(parameter.grad.data), parameter.grad.strides};
    std::size_t used = 2;
    for (std::size_t k = 0; k < kMaxStates; ++k) {
      operands[2 + k] = {parameter.states[k].data, parameter.states[k].strides};
      used += parameter.states[k].data != nullptr;
    }
    streams = std::max(streams, used);
    joint.add(parameter.shape, operands);
  }
  const std::size_t n = joint.size();
  const int team = threading::team_for(n * sizeof(T) * streams);
  if (stats == nullptr) {
    threading::for_ranges(team, n, kBlock, [&](std::size_t begin, std::size_t end) {
      joint.run(begin, end, n, true, [&](std::size_t array, std::size_t length, T* const* p) {
        kernel(p, length, groups[parameters[array].group]);
      });
    });
    return;
  }
  std::vector<StepStats> partial((n + kSumBlock - 1) / kSumBlock);
  threading::for_ranges(team, n, kSumBlock, [&](std::size_t begin, std::size_t end) {
    alignas(64) T before[kSumBlock];
    for (std::size_t first = begin; first < end; first += kSumBlock) {
      StepStats& sums = partial[first / kSumBlock];
      joint.run(first, std::min(first + kSumBlock, end), kSumBlock, true,
                [&](std::size_t array, std::size_t length, T* const* p) {
                  const Options<T>& options = groups[parameters[array].group];
                  std::copy_n(p[0], length, before);
                  kernel(p, length, options);
                  const StepStats s =
                      kernels.step_stats(before, p[0], length, options.penalty_l1, options.penalty_l2);
                  sums.penalty += s.penalty;
                  sums.nonzeros += s.nonzeros;
                  sums.squared_change += s.squared_change;
                });
    }
  });
  *stats = {};
  for (const StepStats& s : partial) {
    stats->penalty += s.penalty;
    stats->nonzeros += s.nonzeros;
    stats->squared_change += s.squared_change;
  }
}

template <class T>
GradientNorm gradient_norm(std::span<const Parameter<T>> parameters) {
  const auto kernel = table<T>().squared_norm_and_finite;
  Joint<T, 1> joint(parameters.size());
  for (const Parameter<T>& parameter : parameters) {
    joint.add(parameter.shape, {{{const_cast<T*>(parameter.grad.data), parameter.grad.strides}}});
  }
  const std::size_t n = joint.size();
  std::vector<GradientNorm> partial((n + kSumBlock - 1) / kSumBlock);
  threading::for_ranges(threading::team_for(n * sizeof(T)), n, kSumBlock,
                        [&](std::size_t begin, std::size_t end) {
                          for (std::size_t first = begin; first < end; first += kSumBlock) {
                            GradientNorm& sums = partial[first / kSumBlock];
                            joint.run(first, std::min(first + kSumBlock, end), kSumBlock, false,
                                      [&](std::size_t, std::size_t length, T* const* p) {
                                        const GradientNorm s = kernel(p[0], length);
                                        sums.squared += s.squared;
                                        sums.finite = sums.finite && s.finite;
                                      });
                          }
                        });
  GradientNorm total;
  for (const GradientNorm& s : partial) {
    total.squared += s.squared;
    total.finite = total.finite && s.finite;
  }
  return total;
}

#define REGKERN_INSTANTIATE_STEP(T, Options) \
  template void step(std::span<const Parameter<T>>, std::span<const Options<T>>, StepStats*);
#define REGKERN_INSTANTIATE(T)                                                   \
  template void l2_decay(const Extents&, In<T>, Out<T>, double);                 \
  template GradientNorm gradient_norm(std::span<const Parameter<T>> parameters); \
  REGKERN_INSTANTIATE_STEP(T, SgdOptions)                                        \
  REGKERN_INSTANTIATE_STEP(T, AdamOptions)                                       \
  REGKERN_INSTANTIATE_STEP(T, AdagradOptions)                                    \
  REGKERN_INSTANTIATE_STEP(T, RmspropOptions)                                    \
  REGKERN_INSTANTIATE_STEP(T, FtrlOptions)                                       \
  REGKERN_INSTANTIATE_STEP(T, LionOptions)
REGKERN_INSTANTIATE(float)
REGKERN_INSTANTIATE(double)
#undef REGKERN_INSTANTIATE
#undef REGKERN_INSTANTIATE_STEP

}  // namespace regkern
#endif  // HWY_ONCE
