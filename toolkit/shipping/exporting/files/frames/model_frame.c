/* Made by edgepress: frames of a camera as the input of the model, in integers.

   The resizing is that of Pillow's bilinear filter, which edgepress.runtime uses, antialiased when shrinking: first
   along rows, then along columns, each rounded to 8 bits, with weights of 22 bits. */
#include "model_frame.h"
#include "model.h"

#define HEIGHT @HEIGHT@
#define WIDTH @WIDTH@
#define CHANNELS @CHANNELS@
#if MODEL_INPUT_BYTES != HEIGHT * WIDTH * CHANNELS
#error "model_frame.c was exported for another model than model.h: export both again into an empty folder"
#endif
#define CHANNELS_FIRST @CHANNELS_FIRST@
#define BLUE_FIRST @BLUE_FIRST@
/* Images of another shape than the model's: CROP fills the model's and cuts off the rest, showing
   SHOWN_NUMERATOR / SHOWN_DENOMINATOR of each side; PAD shows the whole image on black; neither ignores the aspect
   ratio. */
#define CROP @CROP@
#define PAD @PAD@
#define SHOWN_NUMERATOR @SHOWN_NUMERATOR@
#define SHOWN_DENOMINATOR @SHOWN_DENOMINATOR@

#if CHANNELS == 1
#define FITS_CHANNELS(format) ((format) == GREY)
#else
#define FITS_CHANNELS(format) 1
#endif
#define BITS 22
#define HALF ((uint32_t)1 << (BITS - 1))
#define MAX_TAPS (2 * MODEL_FRAME_MAX_RATIO + 2)

@STORED@

typedef enum { @FORMATS@ } frame_format;

typedef struct {
    const uint8_t *bytes;
    int32_t width;
    frame_format format;
} frame_pixels;

/* A side of the frame. Pixel i of the model is around the place (center_of) of the frame, in units of which a pixel of
   the frame has 2 * unit, and a pixel of the model 2 * step. */
typedef struct {
    int32_t length;
    int32_t out_length;
    int32_t unit;
    int32_t step;
} frame_side;

typedef struct {
    int32_t first;
    int32_t end;
    uint32_t sum;
} frame_span;

static int32_t center_of(const frame_side *side, int32_t i)
{
    return side->unit * side->length - side->step * side->out_length + (2 * i + 1) * side->step;
}

/* How much the frame's pixel t counts in a pixel of the model; 0 or less: not at all. */
static int32_t share_of(const frame_side *side, int32_t center, int32_t t)
{
    const int32_t distance = (2 * t + 1) * side->unit - center;
    const int32_t reach = 2 * (side->unit > side->step ? side->unit : side->step);
    return reach - (distance < 0 ? -distance : distance);
}

static frame_span span_of(const frame_side *side, int32_t center)
{
    frame_span span = {0, 0, 0};
    const int32_t reach = 2 * (side->unit > side->step ? side->unit : side->step);
    const int32_t before = center - reach - side->unit;
    if (before >= 0) span.first = before / (2 * side->unit) + 1;
    for (span.end = span.first; span.end < side->length; span.end++) {
        const int32_t share = share_of(side, center, span.end);
        if (share <= 0) break;
        span.sum += (uint32_t)share;
    }
    return span;
}

/* share / sum with BITS bits, rounded, by divisions of 32 bits: sum < 2^24 within the limits on sides. */
static uint32_t weight_of(uint32_t share, uint32_t sum)
{
    uint32_t weight = share / sum;
    uint32_t rest = share % sum;
    static const uint8_t steps[3] = {8, 7, 7};
    for (int i = 0; i < 3; i++) {
        rest <<= steps[i];
        weight = (weight << steps[i]) + rest / sum;
        rest %= sum;
    }
    return weight + (2 * rest >= sum);
}

/* Add pixels that follow each other, each times its weight, to the sum of each channel. */
static void add_pixels(const frame_pixels *frame, int32_t at, const uint32_t *weights, int32_t count, uint32_t *sums)
{
#if CHANNELS == 1
    uint32_t grey = sums[0];
#define ADD(red, green, blue) grey += weights[i] * (((red) * 19595 + (green) * 38470 + (blue) * 7471 + 0x8000) >> 16)
#else
    uint32_t reds = sums[0], greens = sums[1], blues = sums[2];
#define ADD(red, green, blue) (reds += weights[i] * (red), greens += weights[i] * (green), blues += weights[i] * (blue))
#endif
    switch (frame->format) {
@READERS@
    }
#if CHANNELS == 1
    sums[0] = grey;
#else
    sums[0] = reds;
    sums[1] = greens;
    sums[2] = blues;
#endif
}

static void write_pixel(int32_t y, int32_t x, const uint32_t *levels)
{
    uint8_t *const input = (uint8_t *)model_input();
    for (int32_t c = 0; c < CHANNELS; c++) {
        const int32_t slot = BLUE_FIRST ? CHANNELS - 1 - c : c;
        const int32_t at = CHANNELS_FIRST ? (slot * HEIGHT + y) * WIDTH + x : (y * WIDTH + x) * CHANNELS + slot;
        input[at] = STORED(slot, levels[c]);
    }
}

/* A column of the model: what each row of the frame gives for it, which the two pixels that a row counts in share. */
typedef struct {
    frame_span span;
    uint32_t weights[MAX_TAPS];
    int32_t filtered; /* rows before this one are done, and the last ones of them kept */
    uint8_t kept[MAX_TAPS][CHANNELS];
} frame_column;

static const uint8_t *filter_row(const frame_pixels *frame, frame_column *column, int32_t r)
{
    uint8_t *const kept = column->kept[r % MAX_TAPS];
    if (r >= column->filtered) {
        uint32_t sums[CHANNELS];
        const int32_t at = r * frame->width + column->span.first;
        for (int c = 0; c < CHANNELS; c++) sums[c] = HALF;
        add_pixels(frame, at, column->weights, column->span.end - column->span.first, sums);
        for (int c = 0; c < CHANNELS; c++) kept[c] = (uint8_t)(sums[c] >> BITS);
        column->filtered = r + 1;
    }
    return kept;
}

/* The pixel of the model in row y of a column. */
static void resize_pixel(const frame_pixels *frame, const frame_side *rows, int32_t y, frame_column *column,
                         uint32_t *levels)
{
    const int32_t center = center_of(rows, y);
    const frame_span span = span_of(rows, center);
    for (int c = 0; c < CHANNELS; c++) levels[c] = HALF;
    for (int32_t r = span.first; r < span.end; r++) {
        const uint32_t weight = weight_of((uint32_t)share_of(rows, center, r), span.sum);
        const uint8_t *const filtered = filter_row(frame, column, r);
        for (int c = 0; c < CHANNELS; c++) levels[c] += weight * filtered[c];
    }
    for (int c = 0; c < CHANNELS; c++) levels[c] >>= BITS;
}

#if PAD
/* length * other / by, halves to the even number, at least 1. */
static int32_t fitted(int32_t length, int32_t other, int32_t by)
{
    const int32_t whole = length * other / by;
    const int32_t rest = 2 * (length * other % by);
    const int32_t rounded = whole + (rest > by || (rest == by && whole % 2 == 1));
    return rounded < 1 ? 1 : rounded;
}
#endif

static int convert(const uint8_t *bytes, int32_t width, int32_t height, frame_format format)
{
    if (width < 1 || height < 1 || width > MODEL_FRAME_MAX_SIDE || height > MODEL_FRAME_MAX_SIDE) return -1;
    const frame_pixels frame = {bytes, width, format};
    const int narrower_than_model = width * (int32_t)HEIGHT <= height * (int32_t)WIDTH;
    frame_side rows = {height, HEIGHT, HEIGHT, height};
    frame_side columns = {width, WIDTH, WIDTH, width};
    int32_t top = 0, left = 0;
#if CROP
    /* A frame that has the model's size and channels is taken as it is. */
    const int same = width == WIDTH && height == HEIGHT && FITS_CHANNELS(format);
    const int32_t unit = (same ? 1 : SHOWN_DENOMINATOR) * (narrower_than_model ? WIDTH : HEIGHT);
    const int32_t step = (same ? 1 : SHOWN_NUMERATOR) * (narrower_than_model ? width : height);
    rows.unit = columns.unit = unit;
    rows.step = columns.step = step;
#elif PAD
    if (narrower_than_model) columns.out_length = columns.unit = fitted(width, HEIGHT, height);
    else rows.out_length = rows.unit = fitted(height, WIDTH, width);
    top = (HEIGHT - rows.out_length) / 2;
    left = (WIDTH - columns.out_length) / 2;
#else
    (void)narrower_than_model;
#endif
    if (rows.step > MODEL_FRAME_MAX_RATIO * rows.unit || columns.step > MODEL_FRAME_MAX_RATIO * columns.unit) return -1;
    for (int32_t x = 0; x < WIDTH; x++) { /* column by column: the weights of a column are the same in all rows */
        frame_column column;
        const int32_t center = center_of(&columns, x - left);
        const int shown = x >= left && x < left + columns.out_length;
        column.filtered = 0;
        column.span.first = column.span.end = 0;
        if (shown) column.span = span_of(&columns, center);
        for (int32_t t = column.span.first; t < column.span.end; t++)
            column.weights[t - column.span.first] = weight_of((uint32_t)share_of(&columns, center, t), column.span.sum);
        for (int32_t y = 0; y < HEIGHT; y++) {
            uint32_t levels[CHANNELS] = {0};
            if (shown && y >= top && y < top + rows.out_length)
                resize_pixel(&frame, &rows, y - top, &column, levels);
            write_pixel(y, x, levels);
        }
    }
    return 0;
}

@DEFINITIONS@
