/* The model, in flash, on a line of 64 bytes. */
    .section .rodata.image, "a", %progbits
    .balign 64
    .global model_image, model_image_end
model_image:
    .incbin IMAGE
model_image_end:

    .section .note.GNU-stack, "", %progbits
