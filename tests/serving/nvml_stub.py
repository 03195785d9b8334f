"""A stand-in for NVIDIA's libnvidia-ml.so.1, in C. It has two GPUs; the second has no utilisation, as with MIG."""

STUB = r"""
#include <string.h>
#include <stdint.h>
static int gpus[2] = {0, 1};
static const char *uuids[2] = {"GPU-11111111-2222-3333-4444-555555555555", "GPU-66666666-7777-8888-9999-000000000000"};
struct memory { unsigned long long total, free, used; };
struct utilization { unsigned int gpu, memory; };
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) { *device = &gpus[index]; return 0; }
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int length) {
    if (length < strlen(uuids[*(int *)device]) + 1) return 7;
    strcpy(uuid, uuids[*(int *)device]);
    return 0;
}
int nvmlDeviceGetMemoryInfo(void *device, struct memory *memory) {
    memory->total = 141ULL << 30;
    memory->used = *(int *)device ? 1ULL << 30 : 15ULL << 30;
    memory->free = memory->total - memory->used;
    return 0;
}
int nvmlDeviceGetUtilizationRates(void *device, struct utilization *rates) {
    if (*(int *)device) return 3;
    rates->gpu = 37;
    rates->memory = 5;
    return 0;
}
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules) {
    *millijoules = 1500 + *(int *)device;
    return 0;
}
"""
