/* Measures the multiply-adds per second of one core with AVX2, in fp32 and in int8: the upper limit of a CPU variant.

   cc -O2 -mavx2 -mfma bench/peaks.c -o peaks && ./peaks

   Without VNNI an int8 product takes three instructions: vpmaddubsw and vpmaddwd multiply and widen, vpaddd adds.
   Ten independent sums hide the latency of the instructions. */

#include <immintrin.h>
#include <stdio.h>
#include <time.h>

#define ROUNDS 100000000L
#define SUMS 10
#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9)

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void report(const char *what, int lanes, double began) {
  printf("%s: %.1f G multiply-adds/s\n", what, ROUNDS * SUMS * lanes / (now() - began) / 1e9);
}

int main(void) {
#define FLOATS(i) __m256 f##i = _mm256_setzero_ps();
#define INTEGERS(i) __m256i n##i = _mm256_setzero_si256();
  EACH(FLOATS)
  EACH(INTEGERS)
  __m256 x = _mm256_set1_ps(1e-9f);
  __m256i bytes = _mm256_set1_epi8(1), words = _mm256_set1_epi16(1), product;
  double began = now();
  for (long k = 0; k < ROUNDS; k++) {
#define FP32(i) __asm__ volatile("vfmadd231ps %1, %1, %0" : "+x"(f##i) : "x"(x));
    EACH(FP32)
  }
  report("fp32", 8, began);
  began = now();
  for (long k = 0; k < ROUNDS; k++) {
#define INT8(i) \
  __asm__ volatile("vpmaddubsw %2, %2, %1\n\tvpmaddwd %1, %3, %1\n\tvpaddd %1, %0, %0" \
                   : "+x"(n##i), "=&x"(product) : "x"(bytes), "x"(words));
    EACH(INT8)
  }
  report("int8", 32, began);
  return 0;
}
