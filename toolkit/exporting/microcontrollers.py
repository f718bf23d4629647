"""Boards with microcontrollers: their memory and flash, each with the page that says so."""

from __future__ import annotations

from typing import NamedTuple

KIB = 1 << 10
MIB = 1 << 20


class Microcontroller(NamedTuple):
    """A board.

    Attributes:
        name: Its maker's name for it.
        core: Its processor.
        ram: Bytes of memory that are on the chip.
        flash: Bytes of flash.
        source: Where that is written.
    """

    name: str
    core: str
    ram: int
    flash: int
    source: str


# fmt: off
MICROCONTROLLERS = {
    "pico": Microcontroller("Raspberry Pi Pico (RP2040)", "2 x Cortex-M0+", 264 * KIB, 2 * MIB,
        "https://datasheets.raspberrypi.com/pico/pico-datasheet.pdf"),
    "pico2": Microcontroller("Raspberry Pi Pico 2 (RP2350)", "2 x Cortex-M33", 520 * KIB, 4 * MIB,
        "https://datasheets.raspberrypi.com/pico/pico-2-datasheet.pdf"),
    "esp32-s3": Microcontroller("ESP32-S3-DevKitC-1-N8", "2 x Xtensa LX7", 512 * KIB, 8 * MIB,
        "https://www.espressif.com/documentation/esp32-s3_datasheet_en.pdf"),
    "esp32-c3": Microcontroller("ESP32-C3-DevKitM-1", "RISC-V (RV32IMC)", 400 * KIB, 4 * MIB,
        "https://www.espressif.com/documentation/esp32-c3_datasheet_en.pdf"),
    "nano-33-ble": Microcontroller("Arduino Nano 33 BLE (nRF52840)", "Cortex-M4", 256 * KIB, 1 * MIB,
        "https://docs.arduino.cc/resources/datasheets/ABX00030-datasheet.pdf"),
    "uno-r4": Microcontroller("Arduino UNO R4 (RA4M1)", "Cortex-M4", 32 * KIB, 256 * KIB,
        "https://docs.arduino.cc/resources/datasheets/ABX00080-datasheet.pdf"),
    "microbit-v2": Microcontroller("BBC micro:bit V2 (nRF52833)", "Cortex-M4", 128 * KIB, 512 * KIB,
        "https://tech.microbit.org/hardware/"),
    "nucleo-f103rb": Microcontroller("NUCLEO-F103RB (STM32F103RB)", "Cortex-M3", 20 * KIB, 128 * KIB,
        "https://www.st.com/resource/en/datasheet/stm32f103rb.pdf"),
    "nucleo-f446re": Microcontroller("NUCLEO-F446RE (STM32F446RE)", "Cortex-M4", 128 * KIB, 512 * KIB,
        "https://www.st.com/resource/en/datasheet/stm32f446re.pdf"),
    "nucleo-l4r5": Microcontroller("NUCLEO-L4R5ZI (STM32L4R5ZI)", "Cortex-M4", 640 * KIB, 2 * MIB,
        "https://www.st.com/resource/en/datasheet/stm32l4r5zi.pdf"),
}
# fmt: on
"""By the names that `--board` takes. The firmware's own code, stack and data come on top of a model's."""
