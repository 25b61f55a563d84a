// Total variation of a row by its taut string: the shortest curve from (0, 0) to (n, Σx) that stays within t
// of the cumulated x has the slopes y (Davies and Kovac 2001).
//
// Three ways to go on from a knot of the string, which all find the same one:
//
// - short: Condat's direct algorithm (2013). The slopes that lead from the knot to the lower and to the upper
//   border are known up to their largest and their smallest so far, `low` and `high`. Where the next slope to
//   the lower border is above high, the string follows high to the place where it was touched, and bends
//   there; likewise below low. Then the scan begins anew behind that place. Lane 0 watches for a bend
//   upwards, lane 1, with all signs turned, for one downwards: the side is a toss of a coin and never
//   branched on.
// - long: the same for segments of more than kShort elements, but blocks of slopes are looked at together,
//   and after a bend only the border that was followed is searched again: the other's slope is the one to the
//   newest element.
// - hulls: the greatest convex minorant of the upper border and the least concave majorant of the lower one,
//   as blocks. Each element joins each once, so that takes O(n) whatever x is.
//
// The first two keep account of what they look at again, and where it is too much leave the next kHulls
// elements to the hulls: O(n) in all. An element costs 3 to 18 ns on a Xeon (Emerald Rapids), or 14 to 25 by
// hulls, most of it branches that nothing predicts.

#if defined(REGKERN_KERNELS_TV1D_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_TV1D_INL_H_
#undef REGKERN_KERNELS_TV1D_INL_H_
#else
#define REGKERN_KERNELS_TV1D_INL_H_
#endif

#include <math.h>

#include "kernels/simd-inl.h"
#include "kernels/tv1d.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace rows {

constexpr double kNoSlope = HUGE_VAL;

template <class X, class Y>
class TautString {
 public:
  HWY_INLINE TautString(const X* x, Y* y, size_t n, double t, const StringRoom& room)
      : x_(x),
        y_(y),
        n_(n),
        most_debt_(n < kMostDebt / 4 ? 4 * n : kMostDebt),
        t_(t),
        room_(room),
        below_(-t),
        above_(t) {}

  HWY_INLINE double value(size_t i) const { return static_cast<double>(x_[i]); }

  // y from the knot to `last`, behind which lies the next knot.
  HWY_INLINE void write(double slope, size_t last) {
    const Y level = static_cast<Y>(slope + 0.0);
    size_t i = at_;
    if (last - i >= kBlock) {
      const Tag<Y> d;
      const size_t N = hn::Lanes(d);
      for (; i + N <= last; i += N) hn::StoreU(hn::Set(d, level), d, y_ + i);
    }
    for (; i <= last; ++i) y_[i] = level;
    at_ = last + 1;
  }

  // Whether the cumulated x stays within t of the straight line: then nothing is worth a jump.
  HWY_INLINE bool straight(double mean) const {
    double drift = 0;
    size_t i = 0;
    const auto far = [&](double d) HWY_ATTR { return fabs(d) > t_; };
    for (; i + 8 <= n_; i += 8) {
      bool out = false;
      for (size_t k = i; k < i + 8; k += 4) {
        const double a = value(k) - mean, b = value(k + 1) - mean, c = value(k + 2) - mean,
                     e = value(k + 3) - mean;
        const double two = drift + (a + b), four = drift + ((a + b) + (c + e));
        out |= far(drift + a) | far(two) | far(two + c) | far(four);
        drift = four;
      }
      if (out) return false;
    }
    for (; i < n_; ++i) {
      drift += value(i) - mean;
      if (far(drift)) return false;
    }
    return true;
  }

  void run() {
    while (at_ < n_) {
      if (!go_short() || !go_long()) go_by_hulls();
    }
  }

 private:
  using Lanes16 = hn::CappedTag<double, 16>;
  static constexpr size_t kShort = 64;     // elements of a segment that go_short looks at
  static constexpr size_t kBlock = 16;     // elements of one test in go_long
  static constexpr size_t kWindow = 4096;  // sums that are kept, so that they stay in the first caches
  static constexpr size_t kAtOnce = 64;    // sums that are made at once
  static constexpr size_t kRestart = 16;   // where less is to be looked at again, go_short does it
  static constexpr size_t kHulls = 2048;   // elements of one go_by_hulls
  // In elements looked at again; what one bend costs beside them; what one finished element pays back.
  static constexpr size_t kMostDebt = 1024, kBend = 64, kEarned = 6;

  // False where too much is looked at again.
  HWY_INLINE bool go_short() {
    using D2 = hn::FixedTag<double, 2>;
    const D2 d;
    const hn::RebindToSigned<D2> places;
    using V2 = V<D2>;
    HWY_ALIGN static constexpr double kTurn[2] = {0.0, -0.0};
    const V2 turn = hn::Load(d, kTurn), across = hn::Set(d, -2 * t_), near = hn::Set(d, 2 * t_),
             far = hn::Set(d, 4 * t_);
    const auto both = [&](size_t i) HWY_ATTR { return hn::Xor(hn::Set(d, value(i)), turn); };
    // Of the two lanes the one where the string bends.
    const auto either = [](auto tag, auto v) HWY_ATTR { return hn::Or(v, hn::Reverse2(tag, v)); };
    HWY_ALIGN double borders[2] = {below_, -above_};
    V2 border = hn::Load(d, borders);
    size_t at = at_, looked = 0;
    bool enough = false;
    V2 jump = hn::Neg(hn::Add(hn::Add(hn::Reverse2(d, border), hn::Reverse2(d, border)), border));
    while (at + 4 < n_) {
      const V2 here = both(at), next = both(at + 1);
      V2 slope = hn::Add(here, border);  // low, -high
      V2 limit = hn::Neg(hn::Reverse2(d, slope));
      auto bend = hn::Gt(hn::Sub(next, here), jump);
      if (!hn::AllFalse(d, bend)) {  // a segment of one element
        y_[at++] =
            static_cast<Y>(hn::GetLane(either(d, hn::IfThenElseZero(bend, hn::Xor(limit, turn)))) + 0.0);
        border = hn::IfThenElseZero(bend, across);
        jump = hn::IfThenElse(bend, near, far);
        continue;
      }
      V2 most = slope, sum = hn::Add(here, next);
      slope = hn::Mul(hn::Add(sum, border), hn::Set(d, 0.5));
      auto place = hn::Set(places, 1);
      auto touch = hn::IfThenElseZero(hn::RebindMask(places, hn::Ge(slope, most)), place);
      most = hn::Max(most, slope);
      size_t k = 2;
      const size_t end = n_ - 1 - at < kShort ? n_ - 1 - at : kShort;
      for (; k < end; ++k) {
        sum = hn::Add(sum, both(at + k));
        limit = hn::Neg(hn::Reverse2(d, most));
        slope = hn::Mul(hn::Add(sum, border), hn::Set(d, room_.reciprocals[k + 1]));
        bend = hn::Gt(slope, limit);
        if (!hn::AllFalse(d, bend)) break;
        place = hn::Set(places, static_cast<int64_t>(k));
        touch = hn::IfThenElse(hn::RebindMask(places, hn::Ge(slope, most)), place, touch);
        most = hn::Max(most, slope);
      }
      if (k == end) break;
      const Y level =
          static_cast<Y>(hn::GetLane(either(d, hn::IfThenElseZero(bend, hn::Xor(limit, turn)))) + 0.0);
      const auto side = hn::RebindMask(places, hn::MaskFromVec(hn::Reverse2(d, hn::VecFromMask(d, bend))));
      const auto last = static_cast<size_t>(hn::GetLane(either(places, hn::IfThenElseZero(side, touch))));
      border = hn::IfThenElseZero(bend, across);
      jump = hn::IfThenElse(bend, near, far);
      Y* const y = y_ + at;
      y[0] = y[1] = y[2] = y[3] = level;  // most are no longer; what is too much is written again
      for (size_t i = 4; i <= last; ++i) y[i] = level;
      size_t step = last + 1;
#if HWY_COMPILER_GCC || HWY_COMPILER_CLANG
      // Mostly one of two numbers, which branches predict, so that what needs it does not wait for it. The
      // empty instructions hide from the compiler that it is last + 1 anyway.
      if (last == 0) {
        step = 1;
        asm volatile("" : "+r"(step));
      } else if (last + 1 == k) {
        step = k;
        asm volatile("" : "+r"(step));
      }
#endif
      at += step;
      looked += k;
      if (HWY_UNLIKELY(looked > most_debt_ + kEarned * (at - at_))) {
        enough = true;
        break;
      }
    }
    hn::Store(border, d, borders);
    at_ = at;
    below_ = borders[0];
    above_ = -borders[1];
    return !enough;
  }

  // sums[i - base] = x[base] + ... + x[i - 1], for all i up to `end` at least.
  HWY_INLINE void sum_up_to(size_t end) {
    double* const sums = room_.sums;
    while (summed_ < end) {
      double sum = sums[summed_ - base_];
      size_t i = summed_;
      const size_t stop = n_ - i < kAtOnce ? n_ : i + kAtOnce;
      for (; i + 4 <= stop; i += 4) {
        const double a = value(i), b = value(i + 1), c = value(i + 2), e = value(i + 3);
        const double ab = a + b, ce = c + e;
        double* const to = sums + (i - base_ + 1);
        to[0] = sum + a;
        to[1] = sum + ab;
        to[2] = sum + (ab + c);
        to[3] = sum += ab + ce;
      }
      for (; i < stop; ++i) sums[i - base_ + 1] = sum += value(i);
      summed_ = stop;
    }
  }

  // The smallest sign·(sums[j] − knot)/(j + 1) of `count`, and the last place that has it.
  HWY_INLINE void smallest_slope(const double* sums, size_t count, double knot, double sign, double& smallest,
                                 size_t& place) const {
    const Lanes16 d;
    const size_t N = hn::Lanes(d);
    smallest = kNoSlope;
    place = 0;
    size_t j = 0;
    if (count >= kBlock) {
      const auto k = hn::Set(d, knot), s = hn::Set(d, sign), one = hn::Set(d, 1.0);
      const auto step = hn::Set(d, static_cast<double>(2 * N));
      auto least0 = hn::Set(d, kNoSlope), least1 = least0;
      auto where0 = hn::Iota(d, 0.0), where1 = hn::Iota(d, static_cast<double>(N));
      auto at0 = where0, at1 = where1;
      const auto look = [&](auto inverse0, auto inverse1) HWY_ATTR {
        const auto slope0 = hn::Mul(hn::Mul(hn::Sub(hn::LoadU(d, sums + j), k), s), inverse0);
        const auto slope1 = hn::Mul(hn::Mul(hn::Sub(hn::LoadU(d, sums + j + N), k), s), inverse1);
        const auto less0 = hn::Le(slope0, least0), less1 = hn::Le(slope1, least1);
        least0 = hn::IfThenElse(less0, slope0, least0);
        least1 = hn::IfThenElse(less1, slope1, least1);
        at0 = hn::IfThenElse(less0, where0, at0);
        at1 = hn::IfThenElse(less1, where1, at1);
        where0 = hn::Add(where0, step);
        where1 = hn::Add(where1, step);
        j += 2 * N;
      };
      const size_t listed = count < kReciprocals ? count : kReciprocals;
      while (j + 2 * N <= listed) {
        look(hn::LoadU(d, room_.reciprocals + j + 1), hn::LoadU(d, room_.reciprocals + j + 1 + N));
      }
      while (j + 2 * N <= count) {
        look(hn::Div(one, hn::Add(where0, one)), hn::Div(one, hn::Add(where1, one)));
      }
      const auto least = hn::MinOfLanes(d, hn::Min(least0, least1));
      const auto none = hn::Set(d, -1.0);
      const auto at = hn::Max(hn::IfThenElse(hn::Eq(least0, least), at0, none),
                              hn::IfThenElse(hn::Eq(least1, least), at1, none));
      smallest = hn::GetLane(least);
      place = static_cast<size_t>(static_cast<int64_t>(hn::GetLane(hn::MaxOfLanes(d, at))));
    }
    for (; j < count; ++j) {
      const double slope = sign * (sums[j] - knot) * (1.0 / static_cast<double>(j + 1));
      if (slope <= smallest) {
        smallest = slope;
        place = j;
      }
    }
  }

  // The last place of the value in a block that has it.
  static HWY_INLINE size_t last_of(double value, const double* HWY_RESTRICT block) {
    const Lanes16 d;
    const size_t N = hn::Lanes(d);
    uint64_t places = 0;
    for (size_t i = 0; i < kBlock; i += N) {
      uint8_t bits[8] = {};
      hn::StoreMaskBits(d, hn::Eq(hn::Load(d, block + i), hn::Set(d, value)), bits);
      places |= static_cast<uint64_t>(bits[0] | bits[1] << 8) << i;
    }
    return 63 - hwy::Num0BitsAboveMS1Bit_Nonzero64(places);
  }

  // False where too much is looked at again.
  bool go_long() {
    const Lanes16 d;
    const size_t N = hn::Lanes(d);
    double* const sums = room_.sums;
    base_ = summed_ = at_;
    sums[0] = 0;
    double knot = 0, low = -kNoSlope, high = kNoSlope;
    size_t k = at_, touch_low = k, touch_high = k, window = kWindow;
    while (true) {
      const double below = below_ - knot, above = above_ - knot;
      double to_low = 0, to_high = 0;
      bool last = false;
      while (true) {
        size_t stop = n_ - 1;
        if (k + kBlock < n_) {
          if (k - base_ > window) {  // the sums of a long segment are made again where it bends
            sums[0] = sums[k - base_];
            base_ = summed_ = k;
          }
          sum_up_to(k + kBlock);
          const auto b = hn::Set(d, below), a = hn::Set(d, above);
          const double* const from = sums + (k - base_ + 1);
          const size_t length = k - at_ + 1;
          auto largest = hn::Set(d, -kNoSlope), smallest = hn::Set(d, kNoSlope);
          HWY_ALIGN double lows[kBlock], highs[kBlock];
          for (size_t i = 0; i < kBlock; i += N) {
            const auto sum = hn::LoadU(d, from + i);
            const auto inverse = length + kBlock <= kReciprocals
                                     ? hn::LoadU(d, room_.reciprocals + length + i)
                                     : hn::Div(hn::Set(d, 1.0), hn::Iota(d, static_cast<double>(length + i)));
            const auto l = hn::Mul(hn::Add(sum, b), inverse), h = hn::Mul(hn::Add(sum, a), inverse);
            hn::Store(l, d, lows + i);
            hn::Store(h, d, highs + i);
            largest = hn::Max(largest, l);
            smallest = hn::Min(smallest, h);
          }
          const double most = hn::GetLane(hn::MaxOfLanes(d, largest));
          const double least = hn::GetLane(hn::MinOfLanes(d, smallest));
          if ((most > low ? most : low) <= (least < high ? least : high)) {
            if (most >= low) {
              low = most;
              touch_low = k + last_of(most, lows);
            }
            if (least <= high) {
              high = least;
              touch_high = k + last_of(least, highs);
            }
            k += kBlock;
            continue;
          }
          stop = k + kBlock;
        } else {
          sum_up_to(n_);
        }
        double length = static_cast<double>(k - at_);
        for (; k < stop; ++k) {
          length += 1;
          const double sum = sums[k - base_ + 1], inverse = 1.0 / length;
          to_low = (sum + below) * inverse;
          to_high = (sum + above) * inverse;
          if ((to_low > high) | (to_high < low)) break;
          touch_low = to_low >= low ? k : touch_low;
          low = to_low >= low ? to_low : low;
          touch_high = to_high <= high ? k : touch_high;
          high = to_high <= high ? to_high : high;
        }
        if (k < stop) break;
        if (k + 1 == n_) {  // where both borders meet
          last = true;
          to_low = to_high =
              (sums[k - base_ + 1] - knot + (below_ + above_) / 2) / static_cast<double>(n_ - at_);
          break;
        }
      }
      const bool up = to_low > high;
      if (last && !up && !(to_high < low)) {
        write(to_low, k);
        return true;
      }
      const double sign = up ? 1 : -1, across = last ? t_ : 2 * t_;
      double sum = sums[k - base_ + 1];
      double near = up ? high : -low, far = 0;
      size_t touch = up ? touch_high : touch_low;
      below_ = up ? -2 * t_ : 0;
      above_ = up ? 0 : 2 * t_;
      do {
        const size_t paid = kEarned * (touch + 1 - at_);
        write(sign * near, touch);
        const size_t count = k + (last ? 0 : 1) - at_;
        debt_ = (debt_ > paid ? debt_ - paid : 0) + kBend + count;
        if (debt_ > most_debt_ + 4 * count) return false;
        if (count < kRestart && !last) return true;
        if (at_ < base_) {
          base_ = summed_ = at_;
          sums[0] = 0;
          sum_up_to(k + 1);
          sum = sums[k - base_ + 1];
          if (window < 2 * count) window = 2 * count;
        }
        knot = sums[at_ - base_];
        far = (sign * (sum - knot) - across) / static_cast<double>(k + 1 - at_);
        smallest_slope(sums + (at_ - base_ + 1), count, knot, sign, near, touch);
        touch += at_;
      } while (far > near);
      if (last) {
        write(sign * far, k);
        return true;
      }
      high = up ? near : -far;
      low = up ? far : -near;
      touch_high = up ? touch : k;
      touch_low = up ? k : touch;
      ++k;
      if (k - base_ > 2 * (k - at_) + 256) {  // sums of much that is done have lost digits
        base_ = summed_ = at_;
        knot = sums[0] = 0;
        sum_up_to(k);
      }
    }
  }

  // Until the row is done, or for a while, so that go_long may try again.
  HWY_INLINE void go_by_hulls() {
    debt_ = 0;
    const X* const x = x_;
    Y* const y = y_;
    const size_t n = n_, enough = at_ + kHulls;
    const double t = t_;
    size_t at = at_, k = at;
    const auto follow = [y, &at](const HullBlock& b) HWY_ATTR {
      const Y level = static_cast<Y>(b.slope + 0.0);
      const size_t end = at + static_cast<size_t>(b.count);
      do y[at] = level;  // most blocks are too short for a vector
      while (++at < end);
    };
    const auto rest = [](const HullBlock& whole, const HullBlock& part) HWY_ATTR {
      const double sum = whole.sum - part.sum, count = whole.count - part.count;
      return HullBlock{sum, count, sum / count};
    };
    // Before the first block lies a slope that none goes beyond, so that merging stops there.
    HullBlock *upper = room_.upper + 1, *lower = room_.lower + 1, *upper_last = upper, *lower_last = lower;
    upper[-1].slope = -kNoSlope;
    lower[-1].slope = kNoSlope;
    double v = static_cast<double>(x[k]), end = k + 1 == n ? t : 0;  // where both borders meet
    *upper = {v + above_ - end, 1, v + above_ - end};
    *lower = {v + below_ + end, 1, v + below_ + end};
    while (++k < n) {
      v = static_cast<double>(x[k]);
      end = 0;
      if (HWY_UNLIKELY(k + 1 == n)) end = t;
      double sum = v - end, count = 1, slope = sum;
      HullBlock* last = upper_last;
      if (slope <= last->slope) {
        do {
          sum += last->sum;
          count += last->count;
          --last;
        } while (sum <= last->slope * count);
        slope = sum / count;
      }
      upper_last = last + 1;
      *upper_last = {sum, count, slope};
      sum = slope = v + end;
      count = 1;
      last = lower_last;
      if (slope >= last->slope) {
        do {
          sum += last->sum;
          count += last->count;
          --last;
        } while (sum >= last->slope * count);
        slope = sum / count;
      }
      lower_last = last + 1;
      *lower_last = {sum, count, slope};
      if (HWY_LIKELY(upper->slope >= lower->slope)) continue;
      // The string follows the hull that was there before; the newest element has made the other one
      // straight.
      const bool up = upper != upper_last;
      if (up) {
        do {
          follow(*upper);
          *lower = rest(*lower, *upper);
          upper++->slope = -kNoSlope;
        } while (upper != upper_last && upper->slope < lower->slope);
      } else {
        while (lower != lower_last && upper->slope < lower->slope) {
          follow(*lower);
          *upper = rest(*upper, *lower);
          lower++->slope = kNoSlope;
        }
      }
      if (HWY_UNLIKELY(at >= enough) && k - at < kHulls / 4) {
        at_ = at;
        below_ = up ? -2 * t : 0;
        above_ = up ? 0 : 2 * t;
        return;
      }
    }
    for (; upper <= upper_last; ++upper) follow(*upper);
    at_ = at;
  }

  const X* const x_;
  Y* const y_;
  const size_t n_, most_debt_;
  const double t_;
  const StringRoom& room_;
  size_t at_ = 0, debt_ = 0, base_ = 0, summed_ = 0;
  double below_, above_;
};

// x and y may be the same; `mean` is that of x.
template <class T>
void taut_string(const T* x, T* y, size_t n, double mean, double t, const StringRoom& room) {
  const auto solve = [&](const auto* from) HWY_ATTR {
    TautString string(from, y, n, t, room);
    if (string.straight(mean)) {
      string.write(mean, n - 1);
    } else {
      string.run();
    }
  };
  if constexpr (sizeof(T) == sizeof(float)) {
    if (n <= kWidened) {  // every number is looked at several times
      const Tag<double> d;
      const hn::Rebind<float, Tag<double>> narrow;
      const size_t N = hn::Lanes(d);
      size_t i = 0;
      for (; i + N <= n; i += N) hn::StoreU(hn::PromoteTo(d, hn::LoadU(narrow, x + i)), d, room.copy + i);
      for (; i < n; ++i) room.copy[i] = x[i];
      return solve(static_cast<const double*>(room.copy));
    }
  }
  if (x == y) {  // y is written further than it is known
    T* const copy = reinterpret_cast<T*>(room.copy);
    memcpy(copy, x, n * sizeof(T));
    return solve(static_cast<const T*>(copy));
  }
  solve(x);
}

}  // namespace rows
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_TV1D_INL_H_
