# The look of every figure, by hand.  Each figNN.gp loads this file.

set encoding utf8
set minussign

# ---- data: figNN.csv, columns by name ----

set datafile separator comma
set datafile columnheaders

# Is this row of panel p?  And of series s?
panel(p) = strcol('panel') eq p
of(p, s) = strcol('panel') eq p && strcol('series') eq s
# Runs that failed to converge.
failed(p) = strcol('panel') eq p && column('failed') > 0
# A column as a number, NaN where the field is empty.
num(c) = strlen(strcol(c)) ? column(c) : NaN
# v, or the nearest value within [lo, hi]; NaN goes to the bottom.
edge(v, lo, hi) = v != v ? lo : v < lo ? lo : v > hi ? hi : v
# The same numbers in (-0.5, 0.5) at every drawing: spreads points sideways.
jitter(k) = k * 0.618034 - floor(k * 0.618034) - 0.5

# ---- fonts ----

family = 'sans-serif'
base = ',8'
small = ',7'
large = ',9'

# ---- colours, safe for the colour-blind ----

INK = 0x222222
GREY = 0x707070
FAINT = 0xe4e4e4
MIDDLE = 0x21918c # of the sequential palette

# Unordered values: Okabe and Ito, without black and yellow.
array SET[6] = [0x0072b2, 0xd55e00, 0x009e73, 0xcc79a7, 0xe69f00, 0x56b4e9]
hue(i) = SET[(int(i) - 1) % |SET| + 1]

# Ordered values: a perceptual ramp, dark blue to amber (plasma without its
# palest end), the i-th of n colours.
array RAMP[8] = [0x1b0c8f, 0x5c01a6, 0x8f0da4, 0xb83289, 0xd8576b, 0xec7853, 0xf89540, 0xfbb41f]
red(c) = (int(c) >> 16) & 255
green(c) = (int(c) >> 8) & 255
blue(c) = int(c) & 255
blend(a, b, t) = (int(red(a) + t * (red(b) - red(a)) + 0.5) << 16) \
  + (int(green(a) + t * (green(b) - green(a)) + 0.5) << 8) \
  + int(blue(a) + t * (blue(b) - blue(a)) + 0.5)
at_ramp(u) = blend(RAMP[int(u)], RAMP[int(u) < 8 ? int(u) + 1 : 8], u - int(u))
ramp(i, n) = n < 2 ? RAMP[1] : at_ramp(1 + 7.0 * (i - 1) / (n - 1))

# Maps: one ramp of even steps in lightness (viridis), and two from the grey of
# zero (Moreland 2009), blue below, red above.
sequential = "set palette defined (0 '#440154', 1 '#472d7b', 2 '#3b528b', 3 '#2c728e', " \
  ."4 '#21918c', 5 '#28ae80', 6 '#5ec962', 7 '#addc30', 8 '#fde725')"
diverging = "set palette defined (0 '#3b4cc0', 1 '#6282ea', 2 '#8db0fe', 3 '#b8d0f9', " \
  ."4 '#dddddd', 5 '#f5c4ad', 6 '#f49a7b', 7 '#de604d', 8 '#b40426')"
# What can be read on the colour at share u of them.
on_sequential(u) = u < 0.6 ? 0xffffff : INK
on_diverging(u) = abs(2 * u - 1) > 0.7 ? 0xffffff : INK

# Transparent: t from 0 (opaque) to 1.
clear(c, t) = (int(255 * t) << 24) + int(c)
# The earlier, the paler; v between lo and hi.
faded(c, v, lo, hi) = clear(c, v != v || hi <= lo ? 0.2 : 0.82 - 0.72 * (v - lo) / (hi - lo))

# ---- marks and lines ----

array MARKS[6] = [7, 5, 9, 13, 11, 15]
mark(i) = MARKS[(int(i) - 1) % |MARKS| + 1]
set style line 1 lw 1.3 ps 0.42              # curves and their points
set style line 2 pt 2 ps 0.5 lw 1.2 lc rgb INK  # failed to converge
set style line 3 pt 7 ps 0.4                 # points of a scatter
set linetype 100 lc rgb INK lw 0.6           # the frame of a colour bar
set style fill transparent solid 0.3 border
set style boxplot range 1.5 nooutliers
set boxwidth 0.55

# ---- axes ----

# Every panel starts from this: eval new_panel
new_panel = "unset label; unset arrow; unset logscale; unset object;" \
  ." set style boxplot nooutliers; set style fill transparent solid 0.3 border;" \
  ." set border 3 back lc rgb INK lw 0.6; set tics out nomirror scale 0.6,0.35 font small tc rgb INK;" \
  ." set xtics norotate autojustify offset 0,".(kind eq 'svg' ? '0.5' : '0.3').";" \
  ." unset mxtics; unset mytics; set format; unset xlabel; unset ylabel; unset colorbox;" \
  ." unset mcbtics; set cbtics offset -0.6,0;" \
  ." set xzeroaxis lt 1 lw 0.6 dt 2 lc rgb GREY;" \
  ." set grid ytics lt 1 lw 0.4 lc rgb FAINT; set grid back"
unset key
