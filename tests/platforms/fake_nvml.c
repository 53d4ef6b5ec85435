/* NVIDIA's management library as far as Penstock asks it, for machines that exist only in FAKE_GPUS:
   "driver;cuda;name,MiB,free MiB,major,minor,uuid;..." and so on for each GPU. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 8
typedef struct { char name[64]; unsigned long long total, free; int major, minor; char uuid[64]; } gpu;
static gpu gpus[MOST];
static unsigned count;
static char driver[64];
static int cuda;

int nvmlInit_v2(void) {
    const char *text = getenv("FAKE_GPUS");
    if (!text) return 9; /* the driver is not loaded */
    char *copy = strdup(text), *rest = copy;
    snprintf(driver, sizeof driver, "%s", strsep(&rest, ";"));
    cuda = atoi(strsep(&rest, ";"));
    count = 0;
    for (char *one; count < MOST && (one = strsep(&rest, ";"));) {
        gpu *g = &gpus[count++];
        sscanf(one, "%63[^,],%llu,%llu,%d,%d,%63s", g->name, &g->total, &g->free, &g->major, &g->minor, g->uuid);
    }
    free(copy);
    return 0;
}
int nvmlShutdown(void) { return 0; }
static int put(char *to, unsigned size, const char *text) { return snprintf(to, size, "%s", text) >= (int)size ? 7 : 0; }
int nvmlSystemGetDriverVersion(char *to, unsigned size) { return put(to, size, driver); }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = cuda; return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = count; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, gpu **g) { if (i >= count) return 2; *g = &gpus[i]; return 0; }
int nvmlDeviceGetHandleByUUID(const char *uuid, gpu **g) {
    for (unsigned i = 0; i < count; i++)
        if (!strcmp(gpus[i].uuid, uuid)) { *g = &gpus[i]; return 0; }
    return 6;
}
int nvmlDeviceGetUUID(gpu *g, char *to, unsigned size) { return put(to, size, g->uuid); }
int nvmlDeviceGetName(gpu *g, char *to, unsigned size) { return put(to, size, g->name); }
int nvmlDeviceGetCudaComputeCapability(gpu *g, int *major, int *minor) { *major = g->major; *minor = g->minor; return 0; }
int nvmlDeviceGetMemoryInfo(gpu *g, unsigned long long *memory) {
    memory[0] = g->total << 20, memory[1] = g->free << 20, memory[2] = (g->total - g->free) << 20;
    return 0;
}
