// Optimizer steps over many arrays at once, laid end to end; threads share blocks of their joint positions,
// and sums of blocks are added in their order.

#include "regkern/optim.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>
#include <type_traits>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/optim.cc"
#include "hwy/foreach_target.h"

#include "core/dispatch.h"
#include "core/elementwise.h"
#include "kernels/optim-inl.h"

#define REGKERN_FAMILY optim
#define REGKERN_KERNELS(X)   \
  X(l2_decay)                \
  X(sgd_step)                \
  X(adam_step)               \
  X(adagrad_step)            \
  X(rmsprop_step)            \
  X(ftrl_step)               \
  X(lion_step)               \
  X(step_stats)              \
  X(squared_norm_and_finite) \
  X(scaled_squared_norm)
#define REGKERN_HALF_KERNELS(X) X(l2_decay)
#include "core/table-inl.h"

#if HWY_ONCE
namespace regkern {

template <class T>
void l2_decay(const Extents& shape, In<T> w, Out<T> y, double rate) {
  as_stored(w, y, [&]<class E>(In<E> from, Out<E> to) {
    const auto kernel = table<E>().l2_decay;
    for_elements(
        shape, Order::kAny,
        [=](std::size_t, std::size_t n, bool stream, const E* x, E* decayed) {
          kernel(x, decayed, n, rate, stream);
        },
        from, to);
  });
}

namespace {

// Which operands of a parameter a pass works on, and which of them it writes; operand kRounded, where there
// is one, becomes what the first is by then. kTakesHalves: it works on gradients of half precision and what
// is rounded to that where they lie, if all lie in rows.
template <class T>
struct Gradient {
  static constexpr std::size_t kCount = 1, kRounded = kCount;
  static constexpr bool kTakesHalves = false;
  static constexpr bool writes(std::size_t) { return false; }
  static InOut<T> at(const Parameter<T>& p, std::size_t) {
    return {const_cast<T*>(p.grad.data), p.grad.strides, p.grad.storage};
  }
};
template <class T>
struct All {
  static constexpr std::size_t kRounded = 2 + kMaxStates, kCount = kRounded + 1;
  static constexpr bool kTakesHalves = true;
  static constexpr bool writes(std::size_t k) { return k != 1; }
  static InOut<T> at(const Parameter<T>& p, std::size_t k) {
    if (k == kRounded)
      return p.grad.data ? InOut<T>{p.rounded.data, p.rounded.strides, p.rounded.storage} : InOut<T>{};
    return k == 0 ? p.w : k == 1 ? Gradient<T>::at(p, 0) : p.states[k - 2];
  }
};
template <class T, bool first_pass>
struct AllAndStepped {
  static constexpr std::size_t kRounded = All<T>::kRounded, kStepped = All<T>::kCount, kCount = kStepped + 1;
  static constexpr bool kTakesHalves = false;
  static constexpr bool writes(std::size_t k) {
    return first_pass ? k == kStepped : k != kStepped && All<T>::writes(k);
  }
  static InOut<T> at(const Apart<T>& p, std::size_t k) {
    return k == kStepped ? p.stepped : All<T>::at(p, k);
  }
};

// Parameters of many shapes laid end to end: any range of their joint positions can be worked on alone, so
// many small arrays share one parallel region as one large array would.
template <class Parameter, class Operands>
class Joint {
  using T = std::remove_pointer_t<decltype(Parameter::w.data)>;
  static constexpr std::size_t K = Operands::kCount;

 public:
  // Those without a gradient have positions only if `idle` says so.
  Joint(std::span<const Parameter> parameters, bool idle)
      : parameters_(parameters), ends_(parameters.size()) {
    std::size_t end = 0;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const Parameter& parameter = parameters[i];
      if (parameter.grad.data != nullptr || idle) {
        end += parameter.shape.size;
        bool strided = false;
        for (std::size_t k = 0; k < K; ++k) strided |= Operands::at(parameter, k).strides != nullptr;
        if (strided && parameter.shape.size != 0) find_walk(i);
      }
      ends_[i] = end;
    }
  }

  std::size_t size() const { return ends_.empty() ? 0 : ends_.back(); }

  // Calls body(parameter, n, pointers, halves) so that positions [begin, end) are covered in order, `longest`
  // at most at a time. What is not dense is gathered before and, if it is written, scattered after, but for
  // `halves`, those that are worked on where they lie.
  template <class Body>
  void run(std::size_t begin, std::size_t end, std::size_t longest, Body&& body) const {
    auto array =
        static_cast<std::size_t>(std::upper_bound(ends_.begin(), ends_.end(), begin) - ends_.begin());
    while (begin < end) {
      const std::size_t first = begin - (array == 0 ? 0 : ends_[array - 1]);
      std::size_t n = std::min({end - begin, ends_[array] - begin, longest});
      const Parameter& parameter = parameters_[array];
      const std::size_t walk = walk_of_.empty() ? 0 : walk_of_[array];
      if (walk <= kHalves) {
        T* p[K];
        for (std::size_t k = 0; k < K; ++k) {
          const InOut<T> operand = Operands::at(parameter, k);
          const std::size_t item = operand.storage == Storage::kNative ? sizeof(T) : 2;
          char* const data = reinterpret_cast<char*>(operand.data);
          p[k] = data ? reinterpret_cast<T*>(data + first * item) : nullptr;
        }
        body(parameter, n, p, walk == kHalves ? parameter.rounded.storage : Storage::kNative);
      } else {
        n = std::min(n, kBlock);
        if (walk == kRows) {
          run_gathered(parameter, rows(parameter), first, n, body);
        } else {
          run_gathered(parameter, walks_[walk - kWalks], first, n, body);
        }
      }
      begin += n;
      while (array < ends_.size() && ends_[array] <= begin) ++array;
    }
  }

 private:
  using Walk = std::array<Strided, K>;
  static constexpr std::size_t kHalves = 1, kRows = 2, kWalks = 3;

  // Whether an operand has no gaps in C order, as all that have no strides.
  static bool is_row(const Extents& shape, const InOut<T>& operand) {
    if (operand.strides == nullptr) return true;
    if (operand.storage == Storage::kNative) return false;
    std::ptrdiff_t step = 2;
    for (int i = shape.ndim - 1; i >= 0; --i) {
      if (operand.strides[i] != step && shape.dims[i] != 1) return false;
      step *= shape.dims[i];
    }
    return true;
  }

  // The walk of a parameter all of whose operands are rows: those of half precision are to be gathered.
  static Walk rows(const Parameter& parameter) {
    Walk walk;
    for (std::size_t k = 0; k < K; ++k) {
      walk[k].storage = Operands::at(parameter, k).storage;
      walk[k].ndim = 1;
      walk[k].dims[0] = parameter.shape.size;
      walk[k].strides[0] = walk[k].storage == Storage::kNative ? sizeof(T) : 2;
    }
    return walk;
  }

  // Notes how to walk parameter i unless it is dense in an order of its own.
  void find_walk(std::size_t i) {
    const Parameter& parameter = parameters_[i];
    const auto at = [&](std::size_t k) { return Operands::at(parameter, k); };
    bool all_rows = true;
    for (std::size_t k = 0; k < K; ++k) all_rows = all_rows && is_row(parameter.shape, at(k));
    if (all_rows) {
      walk_of_.resize(parameters_.size());
      bool in_place = Operands::kTakesHalves && parameter.grad.storage == parameter.rounded.storage;
      for (std::size_t k = 0; k < K; ++k) {
        const bool may_be_half = k == 1 || k == Operands::kRounded;
        in_place = in_place && may_be_half == (at(k).storage != Storage::kNative);
      }
      walk_of_[i] = in_place ? kHalves : kRows;
      return;
    }
    std::array<OperandLayout, K> layouts;
    for (std::size_t k = 0; k < K; ++k) {  // a missing operand walks along with the first
      layouts[k] = at(at(k).data ? k : 0);
    }
    const Walk walk = make_walk<K>(parameter.shape, Order::kAny, layouts, sizeof(T));
    bool dense = true;
    for (std::size_t k = 0; k < K; ++k) dense = dense && walk[k].dense(at(k).data);
    if (dense) return;
    walk_of_.resize(parameters_.size());
    walk_of_[i] = kWalks + walks_.size();
    walks_.push_back(walk);
  }

  template <class Body>
  void run_gathered(const Parameter& parameter, const Walk& walk, std::size_t first, std::size_t n,
                    Body& body) const {
    alignas(64) T buffers[K][kBlock];
    const auto at = [&](std::size_t k) { return Operands::at(parameter, k).data; };
    T* p[K];
    for (std::size_t k = 0; k < K; ++k) {
      const bool lies_dense = !at(k) || walk[k].dense(at(k));
      p[k] = !at(k) ? nullptr : lies_dense ? at(k) + first : buffers[k];
      if (!lies_dense && k != Operands::kRounded) walk[k].gather(at(k), first, n, buffers[k]);
    }
    if constexpr (Operands::kRounded < K && std::is_same_v<T, float>) {
      constexpr std::size_t k = Operands::kRounded;
      if (parameter.follows && at(k)) walk[k].follow(at(k), first, n, p[0]);
    }
    body(parameter, n, p, Storage::kNative);
    for (std::size_t k = 0; k < K; ++k) {
      if (!Operands::writes(k) || p[k] != buffers[k]) continue;
      walk[k].scatter(k == Operands::kRounded ? p[0] : buffers[k], at(k), first, n);
    }
  }

  std::span<const Parameter> parameters_;
  std::vector<std::size_t> ends_;  // position behind each array
  std::vector<Walk> walks_;
  std::vector<std::size_t>
      walk_of_;  // 0: dense; kHalves; kRows; else kWalks more than its index; empty: all are dense
};

// The kernel of the rule that the options are of.
template <class T>
auto kernel_of(const Table<T>& k, const SgdOptions<T>*) {
  return k.sgd_step;
}
template <class T>
auto kernel_of(const Table<T>& k, const AdamOptions<T>*) {
  return k.adam_step;
}
template <class T>
auto kernel_of(const Table<T>& k, const AdagradOptions<T>*) {
  return k.adagrad_step;
}
template <class T>
auto kernel_of(const Table<T>& k, const RmspropOptions<T>*) {
  return k.rmsprop_step;
}
template <class T>
auto kernel_of(const Table<T>& k, const FtrlOptions<T>*) {
  return k.ftrl_step;
}
template <class T>
auto kernel_of(const Table<T>& k, const LionOptions<T>*) {
  return k.lion_step;
}

// Sums are taken over blocks of joint positions and added in their order: the same bits for every team.
constexpr std::size_t kSumBlock = kBlock;

template <class Parameter>
std::size_t most_states(std::span<const Parameter> parameters) {
  std::size_t most = 0;
  for (const Parameter& parameter : parameters) {
    std::size_t used = 0;
    for (const auto& state : parameter.states) used += state.data != nullptr;
    most = std::max(most, used);
  }
  return most;
}

// One pass over parameters that are stepped apart: body(kernel, pointers, n, options), n at most kBlock.
template <bool first_pass, class T, template <class> class Options, class Body>
void apart(std::span<const Apart<T>> parameters, std::span<const Options<T>> groups, Body&& body) {
  const auto kernel = kernel_of(table<T>(), groups.data());
  const Joint<Apart<T>, AllAndStepped<T, first_pass>> joint(parameters, false);
  const std::size_t bytes = joint.size() * sizeof(T) * (3 + most_states(parameters));
  const bool far = bytes > second_level_cache();
  const auto step = [=](T* const* p, std::size_t n, const Options<T>& options) {
    kernel(p, n, {.far = far}, options);
  };
  threading::for_ranges(
      threading::team_for(bytes), joint.size(), kBlock, [&](std::size_t begin, std::size_t end) {
        joint.run(begin, end, kBlock, [&](const Apart<T>& parameter, std::size_t n, T* const* p, Storage) {
          body(step, p, n, groups[parameter.group]);
        });
      });
}

}  // namespace

template <class T, template <class> class Options>
void step(std::span<const Parameter<T>> parameters, std::span<const Options<T>> groups, StepStats* stats) {
  const Table<T>& kernels = table<T>();
  const auto kernel = kernel_of(kernels, groups.data());
  const Joint<Parameter<T>, All<T>> joint(parameters, stats != nullptr);
  const std::size_t n = joint.size();
  const std::size_t bytes = n * sizeof(T) * (2 + most_states(parameters));
  const threading::Team team = threading::team_for(bytes);
  const bool far = bytes > second_level_cache();
  if (stats == nullptr) {
    threading::for_ranges(team, n, kBlock, [&](std::size_t begin, std::size_t end) {
      joint.run(begin, end, n,
                [&](const Parameter<T>& parameter, std::size_t length, T* const* p, Storage halves) {
                  kernel(p, length, {far, halves, parameter.follows}, groups[parameter.group]);
                });
    });
    return;
  }
  std::vector<StepStats> partial((n + kSumBlock - 1) / kSumBlock);
  threading::for_ranges(team, n, kSumBlock, [&](std::size_t begin, std::size_t end) {
    alignas(64) T before[kSumBlock];
    for (std::size_t first = begin; first < end; first += kSumBlock) {
      StepStats& sums = partial[first / kSumBlock];
      joint.run(first, std::min(first + kSumBlock, end), kSumBlock,
                [&](const Parameter<T>& parameter, std::size_t length, T* const* p, Storage halves) {
                  const Options<T>& options = groups[parameter.group];
                  std::copy_n(p[0], length, before);
                  if (p[1] != nullptr) kernel(p, length, {far, halves, parameter.follows}, options);
                  const StepStats s =
                      kernels.step_stats(before, p[0], length, options.penalty_l1, options.penalty_l2);
                  sums.penalty += s.penalty;
                  sums.nonzeros += s.nonzeros;
                  sums.squared_change += s.squared_change;
                });
    }
  });
  for (const StepStats& s : partial) {
    stats->penalty += s.penalty;
    stats->nonzeros += s.nonzeros;
    stats->squared_change += s.squared_change;
  }
}

template <class T, template <class> class Options>
void step_apart(std::span<const Apart<T>> parameters, std::span<const Options<T>> groups) {
  apart<true>(parameters, groups, [](auto kernel, T* const* p, std::size_t n, const Options<T>& options) {
    constexpr std::size_t kStepped = AllAndStepped<T, true>::kStepped;
    alignas(64) T states[kMaxStates][kBlock];
    T* q[2 + kMaxStates] = {p[kStepped], p[1]};
    for (std::size_t k = 0; k < kMaxStates; ++k) {
      if (p[2 + k] != nullptr) q[2 + k] = std::copy_n(p[2 + k], n, states[k]) - n;
    }
    std::copy_n(p[0], n, q[0]);
    kernel(q, n, options);
  });
}

template <class T, template <class> class Options>
void put_back(std::span<const Apart<T>> parameters, std::span<const Options<T>> groups) {
  apart<false>(parameters, groups, [](auto kernel, T* const* p, std::size_t n, const Options<T>& options) {
    alignas(64) T w[kBlock];
    T* q[2 + kMaxStates] = {w};
    std::copy_n(p + 1, 1 + kMaxStates, q + 1);
    if (std::any_of(q + 2, std::end(q), [](const T* state) { return state != nullptr; })) {
      std::copy_n(p[0], n, w);
      kernel(q, n, options);
    }
    std::copy_n(p[AllAndStepped<T, false>::kStepped], n, p[0]);
  });
}

template <class T>
GradientNorm gradient_norm(std::span<const Parameter<T>> parameters) {
  const Table<T>& kernels = table<T>();
  const Joint<Parameter<T>, Gradient<T>> joint(parameters, false);
  const std::size_t n = joint.size();
  std::vector<GradientNorm> partial((n + kSumBlock - 1) / kSumBlock);
  const auto add_up = [&](auto&& of_piece) {
    std::fill(partial.begin(), partial.end(), GradientNorm());
    threading::for_ranges(threading::team_for(n * sizeof(T)), n, kSumBlock,
                          [&](std::size_t begin, std::size_t end) {
                            for (std::size_t first = begin; first < end; first += kSumBlock) {
                              GradientNorm& sums = partial[first / kSumBlock];
                              joint.run(first, std::min(first + kSumBlock, end), kSumBlock,
                                        [&](const Parameter<T>&, std::size_t length, T* const* p, Storage) {
                                          sums = sums + of_piece(p[0], length);
                                        });
                            }
                          });
    return std::accumulate(partial.begin(), partial.end(), GradientNorm());
  };
  const GradientNorm total = add_up(kernels.squared_norm_and_finite);
  if constexpr (std::is_same_v<T, double>) {
    // Below 2^-960 the squares of some may have lost digits that count; so far from 1, all others are
    // nothing.
    const int exponent = total.squared > std::numeric_limits<double>::max() ? 600
                         : total.squared < 0x1p-960                         ? -600
                                                                            : 0;
    if (total.finite && exponent != 0 && n != 0) {
      const double factor = std::ldexp(1.0, -exponent);
      return add_up([&](const T* x, std::size_t length) {
        return GradientNorm{kernels.scaled_squared_norm(x, length, factor), true, exponent};
      });
    }
  }
  return total;
}

#define REGKERN_INSTANTIATE_STEP(T, Options)                                                  \
  template void step(std::span<const Parameter<T>>, std::span<const Options<T>>, StepStats*); \
  template void step_apart(std::span<const Apart<T>>, std::span<const Options<T>>);           \
  template void put_back(std::span<const Apart<T>>, std::span<const Options<T>>);
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
